"""Names of command-line options, and errors of the library in their terms."""

import inspect
import os
import re
from collections.abc import Collection, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import tyro
from tyro.constructors import (
    ConstructorRegistry,
    PrimitiveConstructorSpec,
    PrimitiveTypeInfo,
    StructConstructorSpec,
    StructTypeInfo,
)

from facedis_jax.errors import InputError


def option_names(config: Any) -> list[str]:
    """Names of the options that set the fields of a configuration, in their order.

    Args:
      config: a dataclass; options of the dataclasses in it have a "." in their names.

    Example:
      >>> from facedis_jax.losses import IbVaeWeights
      >>> option_names(IbVaeWeights())
      ['--lambda-1', '--lambda-2', '--beta-id', '--beta-mi']
    """
    names = []
    for field in fields(config):
        value, name = getattr(config, field.name), field.name.replace("_", "-")
        if is_dataclass(value):
            names += [f"--{name}.{inner.removeprefix('--')}" for inner in option_names(value)]
        else:
            names.append(f"--{name}")
    return names


def parse_options(kind: Any, **how: Any) -> Any:
    """What a command line says, as `tyro.cli` reads it; a home stands in the place of "~" in every path.

    Shells put it there only where a word begins with "~", which that of `--workdir=~/run` does not.

    Args:
      kind: a dataclass of options.
      **how: of `tyro.cli`.
    """
    registry = ConstructorRegistry()
    registry.primitive_rule(_path)
    registry.struct_rule(_Documented())
    return tyro.cli(kind, registry=registry, **how)


def attribute_texts(kind: type) -> dict[str, str]:
    """What the "Attributes:" of a class's docstring says of each; names that share a text each have it.

    Example:
      >>> class Pair:
      ...     '''Two numbers.
      ...
      ...     Attributes:
      ...       one, two: the numbers, in any
      ...         unit.
      ...     '''
      >>> attribute_texts(Pair)
      {'one': 'the numbers, in any unit.', 'two': 'the numbers, in any unit.'}
    """
    _, _, section = (inspect.getdoc(kind) or "").partition("Attributes:\n")
    texts: dict[str, str] = {}
    for entry in re.findall(r"^  (\w+(?:, \w+)*): (.*(?:\n    .*)*)", re.split(r"\n+(?=\S)", section)[0], re.MULTILINE):
        texts |= dict.fromkeys(entry[0].split(", "), " ".join(entry[1].split()))
    return texts


class _Documented:
    """The rule for dataclasses: tyro's own, with the help of fields from the docstring.

    tyro tries four styles of docstrings and reads the source as well, for a tenth of the time of `--help`.
    """

    def __init__(self) -> None:
        self._is_asking = False

    def __call__(self, info: StructTypeInfo) -> StructConstructorSpec | None:
        if self._is_asking or not is_dataclass(info.type):
            return None
        self._is_asking = True
        try:
            spec = ConstructorRegistry.get_struct_spec(info)
        finally:
            self._is_asking = False
        if not isinstance(spec, StructConstructorSpec):
            return None
        texts = attribute_texts(info.type)
        # Settings of several methods that share a text are told apart by their own docstrings.
        shared = {name for name, text in texts.items() if list(texts.values()).count(text) > 1}
        nested = (each for each in spec.fields if is_dataclass(each.type) or is_dataclass(each.default))
        own = {each.name for each in nested if each.name in shared}
        documented = (
            replace(each, helptext=None if each.name in own else texts.get(each.name)) for each in spec.fields
        )
        return replace(spec, fields=tuple(documented))


def _path(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec | None:
    """How a path is read from the command line."""
    if info.type is not Path:
        return None
    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH",
        instance_from_str=lambda words: Path(os.path.expanduser(words[0])),
        is_instance=lambda value: isinstance(value, Path),
        str_from_instance=lambda value: [str(value)],
    )


def typed_options(arguments: Sequence[str]) -> list[str]:
    """The options of a command line as `option_names` spells them, without their values."""
    return [word.partition("=")[0].replace("_", "-") for word in arguments if word.startswith("--")]


def in_options(error: InputError, known: Sequence[str], typed: Collection[str] = ()) -> InputError:
    """An error of library code, which names arguments and fields, in terms of the options that set them.

    Args:
      error: its `where` may be the name of a field, and what it expected may have such as "align=True" or "channels=1";
        so may what it found, after ", where ".
      known: the options that there are.
      typed: the options that were given; of several that set fields of one name, these are meant.

    Example:
      >>> print(in_options(InputError("beta_id", "0 or more", "-1"), ["--learner.weights.beta-id"]))
      --learner.weights.beta-id: expected 0 or more, found -1
    """

    def options_of(field: str) -> list[str]:
        end = field.replace("_", "-")
        found = [name for name in known if name == f"--{end}" or name.endswith(f".{end}")]
        return [name for name in found if name in typed] or found

    where = " or ".join(options_of(error.where)) or error.where

    def typed_as(match: re.Match[str]) -> str:
        value = "" if match[2] == "True" else f" {match[2]}"
        options = options_of(match[1])
        # Of data and of a generator alike: generators follow the data.
        of_data = [option for option in options if ".model." not in option] or options
        return " or ".join(f"{option}{value}" for option in of_data) or match[0]

    expected = re.sub(r"\b(\w+)=(\w+)\b", typed_as, error.expected)
    # What was found may be anything; only a hint is translated.
    found = re.sub(r"(?<=, where )(\w+)=(\w+)\b", typed_as, error.found)
    return InputError(where, expected, found)
