"""The documents: short enough to be read, and true of what they name."""

import importlib
import importlib.util
import json
import re
from functools import cache
from pathlib import Path

import pytest

from facedis_jax.runs.command_line import RunOptions
from facedis_jax.runs.options import option_names
from facedis_jax.runs.renamed import new_name

ROOT = Path(__file__).parents[1]
PAGES = sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md"))
API = sorted(f"docs/api/{path.name}" for path in (ROOT / "docs" / "api").glob("*.md"))
DOCUMENTS = [
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/RESULTS.md", "facedis_jax/data/assets/README.md"),
    *(f"experiments/{name}.md" for name in ("DATA", "DIFFERENCES", "RESULTS", "RUNS", "TRIALS")),
    *PAGES,
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
FOREIGN = {"pytest", "venv", "build", "sphinx"}


@cache
def public_names() -> set[str]:
    """The public names of all modules, as the site finds them."""
    spec = importlib.util.spec_from_file_location("docstrings", ROOT / "docs" / "extensions" / "docstrings.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {name for names in module.public_names().values() for name in names}


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


def headings(name: str) -> set[str]:
    return {line.strip("# ").replace("`", "") for line in prose(name) if line.startswith("#")}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_sections_that_are_named_exist(name):
    """Of `experiments/DATA.md`, "Videos"."""
    for path, section in re.findall(r'([\w/-]+\.md)`?,\s+"([^"]+)"', text_of(name)):
        assert " ".join(section.split()) in headings(path), f"{path}, {section}"


@pytest.mark.parametrize("name", [*DOCUMENTS, *API])
def test_links_lead_somewhere(name):
    """To files, and to sections of them as GitHub and the site call them; Sphinx checks those of the site too."""
    for link in re.findall(r"\]\((?!\w+:)([^)\s]+)\)", "\n".join(prose(name))):
        path, _, anchor = link.partition("#")
        found = (ROOT / name).parent / path if path else ROOT / name
        assert found.exists(), link
        if anchor:
            slugs = {re.sub(r"[^\w -]", "", line).lower().replace(" ", "-") for line in headings(str(found))}
            assert anchor in slugs, link


@pytest.mark.parametrize("name", [*PAGES, *API])
def test_names_that_pages_link_to_are_public(name):
    for word in re.findall(r"\{public\}`([^`]+)`", text_of(name)):
        assert word.rpartition(".")[2] in public_names(), word


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


def commands(name: str) -> list[tuple[str, list[str]]]:
    """The commands of this project that a document names, with their options."""
    text = unchanged(name).replace("\\\n", " ")
    found = re.findall(r"(?<![\w./-])(?:bin/)?(facedis [a-z]+|python -m experiments\.\w+)([^\n`|#]*)", text)
    return [(command, re.findall(r"(?<![\w-])--[a-z][\w.-]*[\w]", rest)) for command, rest in found if "--" in rest]


def has_option(command: str, option: str) -> bool:
    """Whether a command takes an option."""
    if command.startswith("facedis "):
        files = (ROOT / "facedis_jax" / "cli").glob(f"{command.partition(' ')[2]}*.py")
        field = option.removeprefix("--").replace("-", "_")
        return option == "--help" or any(
            re.search(rf"\b{field}\b|{option}\b", path.read_text("utf-8")) for path in files
        )
    module = importlib.import_module(command.removeprefix("python -m "))
    known = {"--help", *option_names(RunOptions())}.union(*map(option_names, module.PRESETS.values()))
    return option in known or re.sub(r"(?<=[-.])no-", "", option, count=1) in known


@pytest.mark.parametrize("name", DOCUMENTS)
def test_options_of_commands_exist(name):
    for command, options in commands(name):
        if "NAME" not in command and command.rpartition(".")[2] not in ("launch", "differences", "strip"):
            assert [option for option in options if not has_option(command, option)] == [], command


def decimals(text: str) -> set[str]:
    return set(re.findall(r"(?<![\w.])\d+\.\d+(?![\w.])|(?<![\w.])\d+\.\d+(?=x)", text))


def recorded(name: str) -> str:
    """What a page says of our own runs: a column of its tables, and the figures of its plots."""
    text, column, found = text_of(name), None, []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        column = (
            None
            if not cells
            else column
            if column is not None
            else next((i for i, cell in enumerate(cells) if cell in ("ours, demo", "figure")), -1)
        )
        found += cells[column : column + 1] if cells and column >= 0 else []
    cells = re.findall(r"^```\{code-cell\}[^\n]*\n(.*?)^```$", text, flags=re.M | re.S)
    found += [
        line for cell in cells for line in cell.splitlines() if re.match(r'    ".*": [\d(]|with_bottleneck', line)
    ]
    return "\n".join(found)


@pytest.mark.parametrize("name", ["docs/claims.md", "docs/videos.md", "docs/accelerators.md"])
def test_figures_of_pages_are_those_that_are_recorded(name):
    said = decimals(recorded(name))
    assert said
    assert said <= decimals(text_of("experiments/RESULTS.md") + text_of("benchmarks/RESULTS.md"))


@pytest.mark.parametrize("name", PAGES)
def test_pages_of_the_site_have_a_picture(name):
    assert re.search(r"^!\[|^    alt: ", text_of(name), flags=re.M)


def test_code_of_the_page_on_the_house_runs(tmp_path, monkeypatch):
    """A learner and a data set of one's own, trained by the loop and resumed."""
    cells = re.findall(r"^```\{code-cell\}[^\n]*\n(.*?)^```$", text_of("docs/house.md"), flags=re.M | re.S)
    cells = [cell for cell in cells if not cell.startswith("---")]  # but not those of pictures
    assert len(cells) == 3
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    for cell in cells:
        exec(compile(cell, "docs/house.md", "exec"), names)
    lines = [json.loads(line) for line in names["folder"].metrics_file.read_text().splitlines()]
    errors = [line["neutral_mm"] for line in lines if line["split"] == "test"]
    assert [line["step"] for line in lines if line["split"] == "test"] == [100, 200]
    assert errors[1] < errors[0]
