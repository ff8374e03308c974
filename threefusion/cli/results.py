"""The commands `render` and `export`, which work on a finished run."""

from __future__ import annotations

import argparse
from pathlib import Path

from threefusion.cli.parser import Parser, Verb
from threefusion.errors import UserError
from threefusion.machine.process import prepare_process


def run_folder(path: Path) -> Path:
    """`path`, checked to be a run folder.

    Raises:
        UserError: it is none.
    """
    if not (path / "config.yaml").is_file():
        raise UserError(f"{path}: {'not a run folder (it has no config.yaml)' if path.is_dir() else 'no such run folder'}")
    return path


def render_arguments(parser: Parser) -> None:
    """Arguments of `render`."""
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder")
    parser.add_argument("--views", type=int, default=60, metavar="N", help="number of frames (60)")
    parser.add_argument(
        "--mode", choices=("color", "albedo", "textureless", "normal"), default="color", help="what to render (color)"
    )
    parser.add_argument(
        "--light",
        choices=("camera", "orbit"),
        default="camera",
        help="camera: at the camera; orbit: orbits against the camera (camera)",
    )
    parser.add_argument("--size", type=int, default=256, metavar="N", help="height and width in pixels (256)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="a .mp4 file, or a folder for .png files")


def render_command(arguments: argparse.Namespace) -> int:
    """Render a turntable of a run."""
    if arguments.views < 1 or arguments.size < 2 or arguments.size % 2:
        raise UserError("--views: at least 1; --size: an even number of at least 2")
    folder = run_folder(arguments.run)
    prepare_process()
    from threefusion.run.results import render

    print(render(folder, arguments.views, arguments.mode, arguments.light, arguments.size, arguments.out))
    return 0


def export_arguments(parser: Parser) -> None:
    """Arguments of `export`."""
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder")
    parser.add_argument("--format", nargs="+", choices=("glb", "obj", "ply", "stl"), help="file formats (those of the config)")


def export_command(arguments: argparse.Namespace) -> int:
    """Run the exporters of a run again."""
    folder = run_folder(arguments.run)
    prepare_process()
    from threefusion.run.results import export

    for path in export(folder, arguments.format):
        print(path)
    return 0


RENDER = Verb(
    "Render a turntable of a run.",
    render_arguments,
    render_command,
    ("render RUN --mode normal", "render RUN --light orbit --size 512 --out relit.mp4"),
)


EXPORT = Verb("Export the mesh of a run.", export_arguments, export_command, ("export RUN --format glb obj",))
