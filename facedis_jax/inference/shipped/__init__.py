"""Models that come with the package, by name: NAME.safetensors in this folder, and the notice of its data beside it."""

from pathlib import Path

_FOLDER = Path(__file__).parent
_ENDING = ".safetensors"


def shipped_models() -> dict[str, Path]:
    """The model files that come with the package, by name."""
    return {path.name.removesuffix(_ENDING): path for path in sorted(_FOLDER.glob(f"*{_ENDING}"))}
