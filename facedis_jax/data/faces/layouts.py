"""How folders of registered meshes are laid out: one's own, by a pattern, and those of public sets."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from facedis_jax.errors import InputError
from facedis_jax.formats.meshes import UNITS

NeutralRule = Literal["auto", "name", "first", "level"]

_NEUTRAL_NAMES = frozenset(
    f"{name}{more}" for name in ("neutral", "rest", "ne") for more in ("", "face", "pose", "expression", "frame")
)


@dataclass(frozen=True)
class MeshLayout:
    """Where meshes lie in a folder, and what is known of them.

    Attributes:
      pattern: of their paths; see `facedis_jax.data.faces.patterns`.
      unit: of their vertices; the only one in which the first is a face if None.
      neutral: what a person's neutral face is: "name", the mean of what an expression of that name shows, from which
        levels are measured; "level", the mean of the frames that hardly differ from the first of their sequence, as in
        CoMA; "first", the mean of first frames; "auto", by name where an expression is called neutral, else by level.
      neutral_name: of the expression that is neutral; None to guess.
      align: move each mesh rigidly onto the first.
      name: of the set, for reports.
      test_subjects: who is tested under the split "paper".
      remark: what is to be known of the set's people or size.
    """

    pattern: str
    unit: str | None = None
    neutral: NeutralRule = "auto"
    neutral_name: str | None = None
    align: bool = False
    name: str = "meshes"
    test_subjects: tuple[str, ...] = ()
    remark: str = ""

    def __post_init__(self) -> None:
        if self.unit is not None and self.unit not in UNITS:
            raise InputError("unit", f"one of {', '.join(UNITS)}", repr(self.unit[:32]))
        if self.neutral_name is not None and self.neutral not in ("auto", "name"):
            raise InputError("neutral", "name, where neutral_name is given", self.neutral)


LAYOUTS: Mapping[str, MeshLayout] = {
    # Ranjan et al.'s people again, by their names; 40 sentences of each, with their heads as they turned.
    "vocaset": MeshLayout(
        "{subject}/{expression}/{expression}.{frame:digits}.ply",
        unit="m",
        neutral="level",
        align=True,
        name="vocaset",
        test_subjects=("FaceTalk_170731_00024_TA", "FaceTalk_170809_00138_TA"),
        remark="CoMA's twelve, who are not unseen by what learned from CoMA",
    ),
    "famos": MeshLayout(
        "{subject}/{expression}/{expression}.{frame:digits}.ply", unit="m", neutral="level", align=True, name="famos"
    ),
    # Unpacked as distributed, in folders of a hundred people each, or in one.
    "facescape": MeshLayout(
        "**/{subject:digits}/models_reg/*_{expression}.obj",
        unit="mm",
        neutral="name",
        neutral_name="neutral",
        name="facescape",
        remark="scaled by its authors to one distance between the eyes",
    ),
}
"""Public sets by their names."""


def neutral_names(layout: MeshLayout, expressions: Sequence[str]) -> set[str]:
    """Which of some expressions are neutral faces, by their names.

    Args:
      layout: may give the name; else what is called neutral, rest or NE, or, among mere numbers, 0.
      expressions: that there are.

    Raises:
      InputError: the given name is not among them.
    """
    if layout.neutral_name is not None:
        found = {name for name in expressions if name.casefold() == layout.neutral_name.casefold()}
        if not found:
            few = f"{', '.join(expressions[:5])}{' and others' if len(expressions) > 5 else ''}" or "none"
            raise InputError(
                "neutral_name", "the name of an expression in the folder", f"{layout.neutral_name} ({few})"
            )
        return found
    if expressions and all(name.isdecimal() for name in expressions):
        return {name for name in expressions if not name.strip("0")}
    return {name for name in expressions if re.sub(r"[\W\d_]+", "", name.casefold()) in _NEUTRAL_NAMES}
