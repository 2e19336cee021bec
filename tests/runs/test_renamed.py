import pytest

from facedis_jax.errors import InputError
from facedis_jax.runs.options import typed_options
from facedis_jax.runs.renamed import RENAMED_OPTIONS, check_renamed, new_name

TABLE = {
    "--langevin.spread": "--langevin.initial-std",
    "--log-every": "--log-every-steps",
    "--training.log-every": "--training.log-every-epochs",
    "--compare": "--rivals",
}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("--learner.langevin.spread", "--learner.langevin.initial-std"),
        ("--langevin.spread", "--langevin.initial-std"),
        ("--log_every", "--log-every-steps"),
        ("--run.log-every", "--run.log-every-steps"),
        ("--training.log-every", "--training.log-every-epochs"),
        ("--mocogan_training.log_every", "--mocogan-training.log-every-epochs"),
        ("--no-compare", "--no-rivals"),
        ("--run.no-compare", "--run.no-rivals"),
        ("--data.photographs.seed", "--data.synthetic.seed"),
        ("--others.photographs.seed", "--target.synthetic.seed"),
        ("--data.videos.langevin.spread", "--data.synthetic.langevin.initial-std"),
        ("--photographs", None),
        ("--spread", None),
        ("--langevin.spreader", None),
        ("--log-everything", None),
        ("--", None),
    ],
)
def test_the_longest_end_that_matches_counts(old, new):
    assert new_name(old, TABLE) == new


def test_the_line_gives_the_new_name_in_either_spelling(monkeypatch):
    monkeypatch.setattr("facedis_jax.runs.renamed.RENAMED_OPTIONS", TABLE)
    for words in (["--log_every", "3"], ["--epochs", "3", "--log-every=3"]):
        with pytest.raises(InputError, match=r"^--log-every: expected its new name --log-every-steps, found the old"):
            check_renamed(typed_options(words), {"--epochs", "--log-every-steps"})


def test_an_option_that_exists_is_never_refused(monkeypatch):
    monkeypatch.setattr("facedis_jax.runs.renamed.RENAMED_OPTIONS", TABLE)
    check_renamed(typed_options(["--training.log_every", "3", "log-every"]), {"--training.log-every"})


def test_new_names_are_not_old_ones_of_others():
    for old, new in RENAMED_OPTIONS.items():
        assert old.startswith("--")
        assert new.startswith("--")
        assert not {"_", " "} & {*old, *new}
        assert new_name(new) is None
