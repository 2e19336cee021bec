"""Every setting of a `paper` preset is held against its paper."""

from pathlib import Path

import pytest

from experiments import differences

DOCUMENT = Path(differences.__file__).parent / "DIFFERENCES.md"


@pytest.mark.parametrize("experiment", differences.EXPERIMENTS)
def test_every_setting_has_an_entry_and_what_is_ours_is_off(experiment):
    for setting in differences.settings_of(experiment):
        entry = differences.entry_of(setting)
        assert entry is not None, setting.path
        if entry.kind == "ours":
            assert setting.value == entry.value, setting.path


def test_every_entry_is_of_a_setting_that_exists():
    settings = [setting for each in differences.EXPERIMENTS for setting in differences.settings_of(each)]
    known = {key for setting in settings for key in setting.keys}
    assert set(differences.ENTRIES) <= known


def test_every_experiment_is_there():
    files = DOCUMENT.parent.glob("[a-z]*.py")
    experiments = {path.stem for path in files if "\nPRESETS = " in path.read_text(encoding="utf-8")}
    assert experiments == set(differences.EXPERIMENTS)


def test_a_setting_that_differs_is_listed(monkeypatch):
    assert not any(row["setting"] == "learner.weights.lambda_1" for row in differences.rows_of())
    entry = differences.Entry("stated", 1.0, "elsewhere")
    monkeypatch.setitem(differences.ENTRIES, "IbVaeWeights.lambda_1", entry)
    (row,) = (row for row in differences.rows_of() if row["setting"] == "learner.weights.lambda_1")
    assert (row["paper"], row["preset"], row["source or reason"]) == ("1.0", "0.066", "elsewhere")


def test_the_document_is_what_the_command_prints():
    assert DOCUMENT.read_text(encoding="utf-8") == differences.markdown()
