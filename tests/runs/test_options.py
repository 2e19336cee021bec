from dataclasses import dataclass, field
from pathlib import Path

import pytest

from facedis_jax.errors import InputError
from facedis_jax.runs.face_config import FaceDataConfig
from facedis_jax.runs.options import in_options, option_names, parse_options, typed_options


@dataclass(frozen=True)
class Inner:
    step_size: float = 0.1
    align: bool = False


@dataclass(frozen=True)
class Outer:
    batch_size: int = 2
    first: Inner = field(default_factory=Inner)
    second: Inner = field(default_factory=Inner)


@dataclass(frozen=True)
class Method:
    """Of one method.

    Attributes:
      rate: in steps.
    """

    rate: int = 1


KNOWN = option_names(Outer())


def test_options_are_named_as_their_fields_lie():
    assert KNOWN == ["--batch-size", "--first.step-size", "--first.align", "--second.step-size", "--second.align"]


@pytest.mark.parametrize(
    ("where", "typed", "shown"),
    [
        ("batch_size", [], "--batch-size"),
        ("step_size", [], "--first.step-size or --second.step-size"),
        ("step_size", ["--second.step_size=3", "--batch-size", "4"], "--second.step-size"),
        ("second.step_size", [], "--second.step-size"),
        ("size", [], "size"),
        ("data/faces.ply", [], "data/faces.ply"),
        ("--first.step-size", [], "--first.step-size"),
    ],
)
def test_an_error_about_a_field_names_the_option_that_sets_it(where, typed, shown):
    error = in_options(InputError(where, "more", "less"), KNOWN, typed_options(typed))
    assert str(error) == f"{shown}: expected more, found less"


def test_a_switch_that_an_error_suggests_is_an_option_too():
    error = InputError("face.ply", "a face near the others, or align=True", "one far away")
    assert in_options(error, ["--align"]).expected == "a face near the others, or --align"
    assert in_options(error, []).expected == error.expected


def test_a_value_that_an_error_suggests_is_an_option_with_it():
    error = InputError("a.png", "a colour image, where channels=1 reads grey ones", "a greyscale one")
    assert in_options(error, ["--data.channels"]).expected == "a colour image, where --data.channels 1 reads grey ones"
    error = InputError("a.png", "a colour image", "channels=1, where channels=1 reads grey ones")
    for known in (["--data.channels"], ["--data.channels", "--learner.model.channels"]):
        assert in_options(error, known).found == "channels=1, where --data.channels 1 reads grey ones"
    assert in_options(error, []).expected == error.expected


@dataclass(frozen=True)
class _Places:
    workdir: Path | None = None
    data: FaceDataConfig = field(default_factory=FaceDataConfig)


def test_homes_stand_in_every_path(monkeypatch):
    monkeypatch.setenv("HOME", "/home/anna")
    words = ["--workdir=~/run", "--data.folder=~/x", "--data.prepared", "~", "--data.landmarks=./~/a~b"]
    places = parse_options(_Places, args=words)
    assert places.workdir == Path("/home/anna/run")
    assert (places.data.folder, places.data.prepared) == (Path("/home/anna/x"), Path("/home/anna"))
    # A folder can have that name.
    assert places.data.landmarks == Path("./~/a~b")
    assert parse_options(_Places, args=["--workdir=None"]).workdir is None


@dataclass(frozen=True)
class Documented:
    """Settings.

    Attributes:
      one, two: how many, in
        steps.
      first, second: of either method.

    Raises:
      InputError: never.
    """

    one: int = 1
    two: int = 2
    bare: int = 3
    first: Method = field(default_factory=Method)
    second: Method = field(default_factory=Method)


def test_help_is_what_the_docstring_says_of_each_option(capsys):
    with pytest.raises(SystemExit):
        parse_options(Documented, args=["--help"])
    text = " ".join(capsys.readouterr().out.replace("│", "").split())
    for shown in ("--one INT how many, in steps. (default: 1)", "--two INT how many, in steps. (default: 2)"):
        assert shown in text
    assert "--bare INT (default: 3)" in text
    # Settings that share a text are told by their own docstrings.
    assert text.count("Of one method.") == 2
    assert "never" not in text
    assert parse_options(Documented, args=["--first.rate", "3"]).first.rate == 3
