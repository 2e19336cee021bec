"""Settings as the plain values of a JSON file, and back."""

import json
import reprlib
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import cattrs
from cattrs.gen import make_dict_structure_fn

from facedis_jax.errors import InputError

Config = TypeVar("Config")

# No setting comes near them, and NaN is not below the first.
_LARGEST = 1e18
_LONGEST = 1000


def as_json(config: Any) -> dict[str, Any]:
    """A dataclass of settings as plain JSON values."""
    return json.loads(json.dumps(asdict(config), default=str))


def from_json(kind: type[Config], value: Any, *, where: object, key: str = "config") -> Config:
    """Settings from the plain values that `as_json` made of them.

    Args:
      kind: a dataclass of numbers, strings, paths, literals, tuples, optionals and further dataclasses.
      value: what JSON holds of it.
      where: the file, for errors.
      key: what `value` is called there.

    Raises:
      InputError: a key is missing or unknown, or a value is of another type or cannot be; it names the key.

    Example:
      >>> from_json(tuple[int, ...], [3, 4], where="config.json")
      (3, 4)
      >>> from_json(tuple[int, ...], [3, True], where="config.json")
      Traceback (most recent call last):
      facedis_jax.errors.InputError: config.json: expected config[1] to be int, found True
    """
    try:
        return _converter.structure(value, kind)
    except Exception as error:
        place, first = _first_of(error)
        key += place
        if isinstance(first, _Unfit):
            raise InputError(where, first.expected.replace("$", key), first.found.replace("$", key)) from None
        if isinstance(first, InputError):
            # From the settings themselves, which know what they may be.
            raise InputError(where, f"{key}.{first.where} to be {first.expected}", first.found) from None
        raise


def from_json_in_part(
    kind: type[Config], value: Any, *, unneeded: Collection[str], where: object, key: str = "config"
) -> Config:
    """As `from_json`, of settings some of which do not matter: these have their defaults where the saved do not fit.

    Args:
      kind: a dataclass, whose fields that are not needed have defaults.
      value, where, key: as of `from_json`.
      unneeded: names of what does not matter, whether there is such a field or not.

    Raises:
      InputError: as `from_json`, for what is needed.

    Example:
      >>> from facedis_jax.losses import IbVaeWeights
      >>> saved = {"lambda_1": 0.5, "lambda_2": 0, "beta_id": None, "beta_it": 1}
      >>> from_json_in_part(IbVaeWeights, saved, unneeded=["beta_id", "beta_mi", "beta_it"], where="file").lambda_1
      0.5
    """
    if not isinstance(value, dict):
        raise InputError(where, f"{key} to be settings by name", reprlib.repr(value))
    hints, names = get_type_hints(kind), [field.name for field in fields(kind)]  # type: ignore[arg-type]
    needed = [name for name in names if name not in unneeded]
    _check_names(value.keys() - set(unneeded), needed, key, where)
    found = {name: from_json(hints[name], value[name], where=where, key=f"{key}.{name}") for name in needed}
    more = {}
    for name in set(names) & value.keys() & set(unneeded):
        with suppress(InputError):
            more[name] = from_json(hints[name], value[name], where=where)
    with suppress(InputError):
        return kind(**found, **more)
    try:
        return kind(**found)
    except InputError as error:
        raise InputError(where, f"{key}.{error.where} to be {error.expected}", error.found) from None


def _check_names(found: Collection[str], expected: Sequence[str], key: str, where: object) -> None:
    """Raises an InputError unless these are the names of the settings under a key."""
    settings = f"the settings {', '.join(expected)} in {key}"
    for name in expected:
        if name not in found:
            raise InputError(where, settings, f"no {key}.{name}")
    for name in sorted(set(found) - set(expected)):
        raise InputError(where, settings, f"{key}.{reprlib.repr(name)[1:-1]} as well")


class _Unfit(ValueError):
    """A value that does not fit; "$" stands for its key in both texts."""

    def __init__(self, expected: str, found: str):
        super().__init__()
        self.expected, self.found = expected, found


def _first_of(error: BaseException) -> tuple[str, BaseException]:
    """The first of the errors that cattrs has collected, and the place where it lies, such as ".sizes[1]"."""
    if not isinstance(error, cattrs.BaseValidationError):
        return "", error
    first = error.exceptions[0]
    place, innermost = _first_of(first)
    for note in getattr(first, "__notes__", ()):
        if isinstance(note, cattrs.AttributeValidationNote):
            return f".{note.name}{place}", innermost
        if isinstance(note, cattrs.IterableValidationNote):
            return f"[{note.index}]{place}", innermost
    return place, innermost


# JSON has one kind of number, and Python counts True among the integers.
_ACCEPTED: Mapping[type, tuple[type, ...]] = {
    float: (int, float),
    int: (int,),
    bool: (bool,),
    str: (str,),
    Path: (str,),
}


def _read_plain(value: Any, kind: type) -> Any:
    if type(value) not in _ACCEPTED[kind]:
        raise _Unfit(f"$ to be {kind.__name__}", reprlib.repr(value))
    if isinstance(value, int | float) and not abs(value) < _LARGEST:
        raise _Unfit("$ to be a number", reprlib.repr(value))
    return kind(value)


def _read_literal(value: Any, kind: Any) -> Any:
    if value not in get_args(kind):
        raise _Unfit(f"$ to be one of {', '.join(map(str, get_args(kind)))}", reprlib.repr(value))
    return value


def _read_tuple(value: Any, kind: Any) -> Any:
    kinds = get_args(kind)
    # cattrs takes whatever can be iterated over, and collects an error of each item.
    fits = isinstance(value, list) and (len(value) <= _LONGEST if kinds[-1] is Ellipsis else len(value) == len(kinds))
    if not fits:
        raise _Unfit(f"$ to be {kind}", reprlib.repr(value))
    return _read_items(value, kind)


def _dataclass_reader(kind: Any, converter: cattrs.Converter) -> Callable[[Any, Any], Any]:
    read = make_dict_structure_fn(kind, converter)
    names = [field.name for field in fields(kind)]

    def read_all(value: Any, kind: Any) -> Any:
        # cattrs would give a missing key its default.
        if not isinstance(value, dict):
            raise _Unfit("$ to be settings by name", reprlib.repr(value))
        expected = f"the settings {', '.join(names)} in $"
        for name in names:
            if name not in value:
                raise _Unfit(expected, f"no $.{name}")
        for name in sorted(value.keys() - set(names)):
            raise _Unfit(expected, f"$.{reprlib.repr(name)[1:-1]} as well")
        return read(value, kind)

    return read_all


_converter = cattrs.Converter()
_read_items = _converter.get_structure_hook(tuple[int, ...])
for _kind in _ACCEPTED:
    _converter.register_structure_hook(_kind, _read_plain)
_converter.register_structure_hook_func(lambda kind: get_origin(kind) is Literal, _read_literal)
_converter.register_structure_hook_func(lambda kind: get_origin(kind) is tuple, _read_tuple)
_converter.register_structure_hook_factory(is_dataclass, _dataclass_reader)
