"""The commands `render` and `export`, which work on a finished run."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

from threefusion.cli.check import is_override
from threefusion.cli.parser import PROGRAM, Parser, Verb
from threefusion.errors import UserError, nearest
from threefusion.machine.process import prepare_process
from threefusion.machine.video import check_video


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
    parser.add_argument("--mesh", action="store_true", help="film the exported mesh in place of the field")
    parser.add_argument("--out", type=Path, metavar="FILE", help="a .mp4, .webm or .gif file, or a folder for .png files")


def render_command(arguments: argparse.Namespace) -> int:
    """Render a turntable of a run."""
    if arguments.views < 1 or arguments.size < 2 or arguments.size % 2:
        raise UserError("--views: at least 1; --size: an even number of at least 2")
    if arguments.out is not None:
        check_video(arguments.out, "--out")
    from threefusion.run.folder import open_run

    open_run(arguments.run)
    prepare_process()
    from threefusion.run.results import render

    print(render(arguments.run, arguments.views, arguments.mode, arguments.light, arguments.size, arguments.out, arguments.mesh))
    return 0


def export_arguments(parser: Parser) -> None:
    """Arguments of `export`."""
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder")
    parser.add_argument(
        "--format", nargs="+", metavar="FORMAT", help="file formats: glb, obj, ply, stl, 3mf, usdz (those of the config)"
    )
    parser.add_argument("--height", metavar="LENGTH", help="physical height, such as 0.3m, 30cm or 12in")
    parser.add_argument("--on-floor", action="store_true", help="the lowest point at height 0, the middle above the origin")
    parser.add_argument("--normal", metavar="CONVENTION", help="directx: a normal map with green downward too (opengl)")
    parser.add_argument("--web", action="store_true", help="a compressed model.web.glb too")
    parser.add_argument("overrides", nargs="*", metavar="exporter.key=value", help="overrides of the exporter's settings")


def export_command(arguments: argparse.Namespace) -> int:
    """Run the exporters of a run again."""
    from threefusion.exporter.settings import FORMATS
    from threefusion.run.folder import open_run

    words = [*arguments.overrides, *(arguments.format or [])]
    overrides = [word for word in words if is_override(word)]
    formats = [word for word in arguments.format or [] if word not in overrides]
    for word in overrides:
        if re.split(r"[.=]", word.lstrip("+~"))[0] != "exporter":
            raise UserError(f"{word}: export takes only exporter.key=value. The rest of a run is trained")
    for word in formats:
        if word not in FORMATS:
            raise UserError(f"--format {word}: unknown format{nearest(word, FORMATS)}")
    changes = _changes(arguments, formats)
    if unknown := [word for word in arguments.overrides if not is_override(word)]:
        raise UserError(f"{unknown[0]!r}: expected exporter.key=value; one run at a time")
    folder = arguments.run
    config = open_run(folder, overrides)
    if not config.exporters:
        raise UserError(f"{folder}: its config has no exporter. Name one: {PROGRAM} export {folder} exporter=mesh")
    if formats and not any(hasattr(exporter, "formats") for exporter in config.exporters.values()):
        baked = f"{PROGRAM} export {folder} exporter=mesh --format {' '.join(formats)}"
        raise UserError(f"--format: the exporter of {folder} writes one format. Textures can be baked into others: {baked}")
    prepare_process()
    from threefusion.run.page import refresh_page
    from threefusion.run.results import export

    for path in export(folder, config, changes):
        print(path)
    refresh_page(folder)
    return 0


def _changes(arguments: argparse.Namespace, formats: list[str]) -> dict[str, Any]:
    """Settings of the exporters that options give.

    Raises:
        UserError: a length without a unit, or an unknown convention.
    """
    from threefusion.exporter.length import parse_length
    from threefusion.exporter.settings import NORMALS

    changes = {"formats": formats, "height": arguments.height, "normal": arguments.normal}
    changes |= {"on_floor": arguments.on_floor, "web": arguments.web}
    try:
        parse_length("1m" if arguments.height is None else arguments.height)
    except ValueError as error:
        raise UserError(f"--height: {error}") from error
    if arguments.normal not in (None, *NORMALS):
        raise UserError(f"--normal {arguments.normal}: unknown convention{nearest(arguments.normal, NORMALS)}")
    return {name: value for name, value in changes.items() if value}


RENDER = Verb(
    "Render a turntable of a run.",
    render_arguments,
    render_command,
    ("render RUN --mode normal", "render RUN --light orbit --size 512 --out relit.mp4", "render RUN --mesh --out mesh.gif"),
)


EXPORT = Verb(
    "Export the mesh of a run.",
    export_arguments,
    export_command,
    (
        "export RUN --format glb obj",
        "export RUN --format stl 3mf --height 8cm",
        "export RUN exporter.texture_size=1024 exporter.max_faces=2000",
    ),
)
