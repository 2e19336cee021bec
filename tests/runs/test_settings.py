from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest

from facedis_jax.errors import InputError, check_least
from facedis_jax.formats.settings import as_json, from_json
from facedis_jax.runs.face_config import FaceDataConfig, FaceRunConfig
from facedis_jax.runs.settings import identity
from facedis_jax.training import RunFolder
from tests.small_runs import small_config


@dataclass(frozen=True)
class Part:
    name: Literal["one", "two"] = "one"
    sizes: tuple[int, ...] = (3, 4)


@dataclass(frozen=True)
class Limit:
    least: float = 1.0

    def __post_init__(self):
        check_least(self, least=0)


@dataclass(frozen=True)
class Settings:
    part: Part = field(default_factory=Part)
    folder: Path | None = None
    pair: tuple[float, str] = (0.5, "a")
    rate: float = 0.1
    on: bool = False
    limits: tuple[Limit, ...] = ()


@pytest.mark.parametrize(
    "settings",
    [Settings(), Settings(Part("two", ()), Path("a/b"), (3.0, "b"), 2.0, True, (Limit(0.5),))],
    ids=["defaults", "others"],
)
def test_settings_survive_json(settings):
    assert from_json(Settings, as_json(settings), where="config.json") == settings


def test_a_runs_settings_survive_json():
    config = small_config(conditional=True)
    assert from_json(FaceRunConfig, as_json(config), where="") == config


def test_a_whole_number_may_stand_for_a_real_one():
    rate = from_json(Settings, as_json(Settings()) | {"rate": 1}, where="").rate
    assert rate == 1
    assert isinstance(rate, float)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"speed": 3}, "the settings part, folder, pair, rate, on, limits in config, found config.speed as well"),
        ({"part": {"name": "one"}}, "the settings name, sizes in config.part, found no config.part.sizes"),
        ({"part": {"name": "three", "sizes": []}}, "config.part.name to be one of one, two, found 'three'"),
        ({"part": {"name": ["one"], "sizes": []}}, "config.part.name to be one of one, two, found ['one']"),
        ({"part": {"name": "one", "sizes": [1, "2"]}}, "config.part.sizes[1] to be int, found '2'"),
        ({"part": {"name": "one", "sizes": [1, 2.0]}}, "config.part.sizes[1] to be int, found 2.0"),
        ({"part": {"name": "one", "sizes": "12"}}, "config.part.sizes to be tuple[int, ...], found '12'"),
        ({"part": {"name": "one", "sizes": {"1": 2}}}, "config.part.sizes to be tuple[int, ...], found {'1': 2}"),
        ({"part": 7}, "config.part to be settings by name, found 7"),
        ({"part": None}, "config.part to be settings by name, found None"),
        ({"pair": [1.0]}, "config.pair to be tuple[float, str], found [1.0]"),
        ({"pair": [1.0, "a", "b"]}, "config.pair to be tuple[float, str], found [1.0, 'a', 'b']"),
        ({"pair": ["a", "a"]}, "config.pair[0] to be float, found 'a'"),
        ({"rate": True}, "config.rate to be float, found True"),
        ({"rate": None}, "config.rate to be float, found None"),
        ({"rate": float("nan")}, "config.rate to be a number, found nan"),
        ({"rate": -1e300}, "config.rate to be a number, found -1e+300"),
        ({"rate": 10**400}, "config.rate to be a number, found 1000000000"),
        ({"on": 1}, "config.on to be bool, found 1"),
        ({"folder": 3}, "config.folder to be Path, found 3"),
        ({"limits": [{"least": -1.0}]}, "config.limits[0].least to be 0 or more, found -1.0"),
    ],
)
def test_settings_that_do_not_fit_are_named(change, line):
    with pytest.raises(InputError) as told:
        from_json(Settings, as_json(Settings()) | change, where="config.json")
    assert str(told.value).startswith(f"config.json: expected {line}")
    assert len(str(told.value)) < 200


def test_a_list_of_more_than_any_setting_has_is_refused_at_once():
    sizes = {"part": {"name": "one", "sizes": [True] * 500_000}}
    with pytest.raises(InputError, match=r"config.part.sizes to be tuple\[int, ...\]"):
        from_json(Settings, as_json(Settings()) | sizes, where="config.json")


def test_places_and_ways_of_reading_are_no_part_of_a_run_and_named_files_are_by_content(tmp_path):
    (tmp_path / "a.txt").write_text("1 2 3")
    (tmp_path / "b.txt").write_text("1 2 3")
    (tmp_path / "c.txt").write_text("1 2 4")

    def opened(landmarks, **reading):
        data = FaceDataConfig(folder=tmp_path, landmarks=landmarks, **reading)
        settings, elsewhere = identity(FaceRunConfig(data=data))
        return RunFolder.open(tmp_path / "run", settings, elsewhere=elsewhere)

    first = opened(tmp_path / "a.txt", prepared=tmp_path / "cache")
    again = opened(tmp_path / "b.txt", skip_damaged=True, links_out=False)
    assert again.identity == first.identity
    assert again.config["config"]["data"]["landmarks"] == str(tmp_path / "a.txt")
    with pytest.raises(InputError, match=r"a run with files\.data\.landmarks = "):
        opened(tmp_path / "c.txt")
    with pytest.raises(InputError, match=r"a run with files\.data\.landmarks = \"\""):
        opened(None)
