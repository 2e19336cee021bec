"""The documents: short enough to be read, and true of what they name."""

import importlib
import importlib.util
import re
from pathlib import Path

import pytest

from facedis_jax.runs.renamed import new_name

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/RESULTS.md", "facedis_jax/data/assets/README.md"),
    *(f"experiments/{name}.md" for name in ("DATA", "DIFFERENCES", "RESULTS", "RUNS", "TRIALS")),
]
LINES_OF_README, WIDTH, CELL, PARAGRAPH = 130, 120, 90, 4
# A name in backticks is a path if it ends in one of these, or in a slash.
PATH = re.compile(r"[\w./-]+(?:\.(?:py|md|sh|png|cff|lock|toml|npz)|/)")
# What a run, a data set or an example of a command has, and the repository has not.
ELSEWHERE = re.compile(
    r"runs/.*|(checkpoints|figures)/|(model|evaluation|ict_face|face|smile|new)\.(npz|ply|obj|glb)|(faces|images|videos|metrics)/"
    r"|(fuzz|durability)/|images\d+x\d+|.*MAFL.*"
)
MODULE = re.compile(r"python -m ([\w.]+)")
# Not of this project.
FOREIGN = {"pytest", "venv", "build"}


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def prose(name: str) -> list[str]:
    """The lines outside fenced code."""
    return re.sub(r"^```.*?^```$", "", text_of(name), flags=re.M | re.S).splitlines()


def unchanged(name: str) -> str:
    """The document without the old names of its tables "old | new"."""
    return re.sub(r"^\| old \|.*?(?=\n\n|\Z)", "", text_of(name), flags=re.M | re.S)


def python_blocks(name: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", text_of(name), flags=re.M | re.S)


def test_readme_is_short():
    assert len(text_of("README.md").splitlines()) <= LINES_OF_README


@pytest.mark.parametrize("name", DOCUMENTS)
def test_lines_and_cells_are_short(name):
    for line in unchanged(name).splitlines():
        if line.startswith("|"):
            assert max(len(cell.strip()) for cell in line.strip("|").split("|")) <= CELL, line
        else:
            assert len(line) <= WIDTH, line


def test_readme_has_short_paragraphs():
    for paragraph in re.split(r"\n\s*\n", "\n".join(prose("README.md"))):
        if not paragraph.startswith("|"):
            assert len(paragraph.strip().splitlines()) <= PARAGRAPH, paragraph


def test_readme_shows_a_small_image():
    (image,) = re.findall(r"!\[.*?\]\((.*?)\)", text_of("README.md"))
    assert (ROOT / image).stat().st_size < 300_000


@pytest.mark.parametrize("name", DOCUMENTS)
def test_paths_exist(name):
    for quoted in re.findall(r"`([^`\n]+)`", unchanged(name)):
        if PATH.fullmatch(quoted) and not ELSEWHERE.fullmatch(quoted):
            assert any((base / quoted).exists() for base in (ROOT, (ROOT / name).parent, ROOT / "facedis_jax")), quoted


@pytest.mark.parametrize("name", DOCUMENTS)
def test_modules_exist(name):
    for module in MODULE.findall(unchanged(name)):
        top = module.partition(".")[0]
        if top not in FOREIGN and module != "experiments.NAME":
            path = ROOT.joinpath(*module.split("."))
            assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


@pytest.mark.parametrize("name", DOCUMENTS)
def test_options_have_todays_names(name):
    for option in re.findall(r"(?<![\w-])--[a-z][\w.-]*", unchanged(name)):
        assert new_name(option) is None, f"{option} is {new_name(option)} today"


def test_experiments_of_the_readme_are_all_there_are():
    named = set(re.findall(r"^\| `(\w+)` \|", text_of("README.md"), flags=re.M))
    files = (ROOT / "experiments").glob("[a-z]*.py")
    assert named == {path.stem for path in files if "\nPRESETS = " in path.read_text(encoding="utf-8")}


def test_python_blocks_of_the_readme_run():
    blocks = python_blocks("README.md")
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


def test_every_name_in_backticks_of_the_package_is_importable():
    for name in DOCUMENTS:
        for quoted in re.findall(r"`(facedis_jax(?:\.\w+)+)`", unchanged(name)):
            module, _, attribute = quoted.rpartition(".")
            assert importlib.util.find_spec(module), quoted
            found = importlib.import_module(module)
            assert hasattr(found, attribute) or importlib.util.find_spec(quoted), quoted
