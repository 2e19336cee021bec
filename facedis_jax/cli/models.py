"""List the models that come with the package and those of all runs below a folder, or show one's whole card.

Command    facedis models [FOLDER_OR_NAME]

Examples
           facedis models                  what comes with the package, and the runs below runs/
           facedis models /data/runs       the runs below another folder
           facedis models runs/coma_ib-demo
"""

import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, NoReturn

import tyro

from facedis_jax.errors import InputError, printable
from facedis_jax.inference.load import model_path
from facedis_jax.inference.model_cards import ModelCard, run_folders, shipped_cards
from facedis_jax.inference.model_files import MODEL_FILE
from facedis_jax.inference.shipped import shipped_models
from facedis_jax.runs.command_line import exit_with
from facedis_jax.runs.options import parse_options

_RUNS = Path("runs")
_HEADINGS = ("model", "kind", "size", "people", "expressions", "seed", "error")
# Of its figures, the one that the table has.
_ERROR = "reconstruction_mm"
_WIDTH = 100
_MOST_NAMED = {"expressions": 1000, "subjects": 30}


@dataclass(frozen=True)
class ModelsOptions:
    """Which models.

    Attributes:
      where: a folder with runs below it; or one model, by the name of one that comes with the package, by a run's
        folder, or by its file.
    """

    where: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER_OR_NAME")] = None


def models(options: ModelsOptions) -> int:
    """Lists or shows, and returns the exit code.

    Raises:
      InputError: nothing is there, or the one model's file cannot be used.
    """
    where = options.where
    is_one = where is not None and (not where.is_dir() or (where / MODEL_FILE).is_file())
    if where is not None and is_one:
        path = model_path(where)
        name = str(where) if shipped_models().get(str(where)) == path else ""
        print("\n".join(_whole(ModelCard.read(path, name))))
        return 0
    if where is not None and not next(run_folders(where), None):
        raise InputError(where, "a folder with runs below it", "none")
    cards, others = ([], []) if where is not None else (shipped_cards(), [])
    for folder in run_folders(where or _RUNS):
        if not (folder / MODEL_FILE).is_file():
            if not any(folder.glob(f"*/{MODEL_FILE}")):
                others.append(f"{folder}: no model yet")
            continue
        try:
            cards.append(ModelCard.read(folder / MODEL_FILE))
        except InputError as error:
            others.append(str(error))
    lines = [*_table(cards), *(printable(line) for line in others)]
    print("\n".join(lines or [f"no models: none comes with the package, and none is below {_RUNS}"]))
    return 0


def _table(cards: Sequence[ModelCard]) -> list[str]:
    """A row for each model, and below it the command that made it."""
    if not cards:
        return []
    rows = [_HEADINGS, *map(_row, cards)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    lines = []
    for row, card in zip(rows, [None, *cards], strict=True):
        lines.append("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        if card is not None and card.origin.command:
            lines.append(f"    {printable(card.origin.command)}")
    return lines


def _row(card: ModelCard) -> tuple[str, ...]:
    numbers = card.numbers
    size = f"{numbers.get('vertices', 0):,} vertices"
    if card.kind != "faces":
        size = f"{numbers.get('size', 0)} pixels" + (f", {numbers['frames']} frames" if "frames" in numbers else "")
    counts = [str(len(card.names[key])) if key in card.names else "" for key in ("subjects", "expressions")]
    error = f"{card.figures[_ERROR]:.2f} mm" if _ERROR in card.figures else ""
    return (printable(card.name), card.kind, size, *counts, str(card.origin.seed), error)


def _whole(card: ModelCard) -> list[str]:
    """All that a model's card says."""
    lines = [printable(card.name)]
    if card.about:
        lines += [
            "",
            *(line for part in card.about.splitlines() for line in textwrap.wrap(printable(part), _WIDTH) or [""]),
        ]
    facts = {"file": str(card.path), "kind": card.kind, **{key: f"{each:,}" for key, each in card.numbers.items()}}
    facts |= {key: str(value) for key, value in asdict(card.origin).items()}
    facts |= {key: f"{value:g}" for key, value in card.figures.items()}
    facts |= {key: _listed(names, _MOST_NAMED[key]) for key, names in card.names.items() if names}
    width = max(map(len, facts))
    lines.append("")
    for key, value in facts.items():
        first, *rest = textwrap.wrap(printable(value), _WIDTH, break_long_words=False) or [""]
        lines += [f"{printable(key):<{width}}  {first}", *(f"{'':<{width}}  {line}" for line in rest)]
    return [line.rstrip() for line in lines]


def _listed(names: Sequence[str], most: int) -> str:
    more = f" and {len(names) - most} others" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


def main(arguments: Sequence[str]) -> NoReturn:
    """Runs the command, and exits with its code."""

    def command() -> int:
        return models(parse_options(ModelsOptions, args=arguments, prog="facedis models", description=__doc__))

    exit_with(command, ["--where"])
