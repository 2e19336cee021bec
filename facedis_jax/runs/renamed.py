"""Options that have changed their names: the old name is refused with a line that gives the new one."""

from collections.abc import Collection, Mapping

from facedis_jax.errors import InputError

# The end of an option's name, from its beginning or any "." or "-" in it, and what stands in its place today. An option
# that exists is never looked up, and of several ends that match, the longest counts. A key of a run's config.json is
# looked up as the option that sets it.
RENAMED_OPTIONS: Mapping[str, str] = {
    "--photos-per-subject": "--images-per-subject",
    "--reach": "--traversal-range",
    "--langevin.spread": "--langevin.initial-std",
    "--log-every": "--log-every-steps",
    "--evaluate-every": "--evaluate-every-steps",
    "--checkpoint-every": "--checkpoint-every-steps",
    "--training.log-every": "--training.log-every-epochs",
    "--training.evaluate-every": "--training.evaluate-every-epochs",
    "--training.checkpoint-every": "--training.checkpoint-every-epochs",
    "--training.evaluation-images": "--training.evaluation-examples",
    "--fine-tuning.log-every": "--fine-tuning.log-every-epochs",
    "--fine-tuning.evaluate-every": "--fine-tuning.evaluate-every-epochs",
    "--fine-tuning.checkpoint-every": "--fine-tuning.checkpoint-every-epochs",
    "--fine-tuning.evaluation-images": "--fine-tuning.evaluation-examples",
}

# The same of `facedis edit`.
RENAMED_EDIT_OPTIONS: Mapping[str, str] = {"--run": "--model"}

# The same for groups of options, a part of a name before its last: --data.videos.zoom is --data.synthetic.zoom today.
RENAMED_GROUPS: Mapping[str, str] = {
    "photographs": "synthetic",
    "videos": "synthetic",
    "others": "target",
}


def new_name(option: str, renamed: Mapping[str, str] | None = None) -> str | None:
    """Today's name of an option that has changed its name.

    Args:
      option: as typed, such as "--learner.langevin.spread"; "_" and "-" are the same.
      renamed: old to new ends; `RENAMED_OPTIONS` by default.

    Returns:
      The new name, spelt with "-"; None for an option that has none.

    Example:
      >>> new_name("--learner.langevin.old_name", {"--langevin.old-name": "--langevin.new-name"})
      '--learner.langevin.new-name'
      >>> new_name("--data.photographs.seed")
      '--data.synthetic.seed'
    """
    *groups, last = option.removeprefix("--").replace("_", "-").split(".")
    in_groups = f"--{'.'.join([*(RENAMED_GROUPS.get(group, group) for group in groups), last])}"
    at_end = _new_end(in_groups, RENAMED_OPTIONS if renamed is None else renamed)
    if at_end is not None:
        return at_end
    return in_groups if RENAMED_GROUPS.keys() & set(groups) else None


def _new_end(option: str, table: Mapping[str, str]) -> str | None:
    name = option.removeprefix("--")
    ends = [i for i in range(len(name)) if i == 0 or name[i - 1] in ".-"]
    for i in ends:
        new = table.get(f"--{name[i:]}")
        if new is not None:
            return f"--{name[:i]}{new.removeprefix('--')}"
    # The switch that turns an option off has a "no-" before the last part of its name.
    prefix, dot, last = name.rpartition(".")
    if last.startswith("no-"):
        on = _new_end(f"--{prefix}{dot}{last.removeprefix('no-')}", table)
        if on is not None:
            prefix, dot, last = on.removeprefix("--").rpartition(".")
            return f"--{prefix}{dot}no-{last}"
    return None


def new_key(key: str) -> str | None:
    """Today's name of a key of config.json, dotted, that has changed; None for one that has none."""
    new = new_name(key)
    return None if new is None else new.removeprefix("--").replace("-", "_")


def check_renamed(typed: Collection[str], known: Collection[str], renamed: Mapping[str, str] | None = None) -> None:
    """Checks that a command line uses no option by a name that it no longer has.

    Args:
      typed: the options that were given.
      known: the options that there are, such as "--learner.langevin.num-steps".
      renamed: as of `new_name`.

    Raises:
      InputError: it does; the line gives the new name.
    """
    for option in typed:
        new = None if option in known else new_name(option, renamed)
        if new is not None:
            raise InputError(option, f"its new name {new}", "the old one")
