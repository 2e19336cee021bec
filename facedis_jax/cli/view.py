"""A model on a page of this machine: sliders for its codes, expressions by name, loaded scans, saved faces.

Command    facedis view MODEL [--port 8080]

Examples
           facedis view runs/coma_ib-demo
           facedis view runs/faces_deformable-demo --port 9000

The page is shown by the browser at the address that is printed, and needs nothing from elsewhere. Ctrl-C ends it.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NoReturn

import tyro

from facedis_jax.errors import InputError
from facedis_jax.inference.face_model import TrainedFaceModel
from facedis_jax.inference.load import load
from facedis_jax.runs.back_end import check_back_end
from facedis_jax.runs.command_line import exit_with
from facedis_jax.runs.compiled_programs import keep_compiled_programs
from facedis_jax.runs.options import parse_options
from facedis_jax.viewer.face_page import FacePage
from facedis_jax.viewer.image_page import ImagePage
from facedis_jax.viewer.server import open_server


@dataclass(frozen=True)
class ViewOptions:
    """Which model, and where its page is.

    Attributes:
      where: a model that comes with the package, the folder of a finished run, or its model.safetensors.
      model: the same, as other commands take it.
      port: of the page's address.
      host: the address that it is served at; by default this machine alone sees it.
      seed: of random faces.
    """

    where: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")] = None
    model: Path | None = None
    port: int = 8080
    host: str = "127.0.0.1"
    seed: int = 0


def view(options: ViewOptions) -> int:
    """Serves the page until the process is ended.

    Raises:
      InputError: there is no such model, or the port is taken.
    """
    given = [path for path in (options.where, options.model) if path is not None]
    if len(given) != 1:
        raise InputError("model", "one model", f"{len(given)}")
    keep_compiled_programs()
    check_back_end()
    model = load(given[0])
    server = open_server(f"facedis {given[0].name}", options.host, options.port)
    page = FacePage if isinstance(model, TrainedFaceModel) else ImagePage
    page(server, model, options.seed)  # type: ignore[arg-type]
    print(f"http://{options.host}:{options.port}", flush=True)
    threading.Event().wait()
    return 0


def main(arguments: Sequence[str]) -> NoReturn:
    """Runs the command, and exits with its code."""
    known = ["--model", "--port", "--host", "--seed"]

    def command() -> int:
        return view(parse_options(ViewOptions, args=arguments, prog="facedis view", description=__doc__))

    exit_with(command, known)
