"""The command `view`. Validates its arguments before loading torch."""

from __future__ import annotations

import argparse
from pathlib import Path

from threefusion.cli.parser import Parser, Verb
from threefusion.errors import UserError
from threefusion.machine.optional import require
from threefusion.machine.process import prepare_process


def view_arguments(parser: Parser) -> None:
    """Arguments of `view`."""
    parser.add_argument("paths", type=Path, nargs="+", metavar="RUN", help="run folders, and mesh files: .glb, .gltf or .obj")
    parser.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="where to listen (127.0.0.1: this machine alone)")
    parser.add_argument("--port", type=int, default=8080, metavar="N", help="the port, or the next free one (8080)")


def view_command(arguments: argparse.Namespace) -> int:
    """Serve a page on which runs and meshes are orbited side by side, until Ctrl-C."""
    from threefusion.run.folder import open_run

    if not 0 <= arguments.port < 65536:
        raise UserError("--port: expected 0 to 65535")
    for path in arguments.paths:
        if not path.is_file():
            open_run(path)
    require("viser")
    prepare_process()
    from threefusion.run.view import open_page

    lookout = open_page(arguments.paths, arguments.host, arguments.port)
    print(f"{lookout.site.link}\nCtrl-C ends it", flush=True)
    try:
        while True:
            lookout.turn()
    except KeyboardInterrupt:
        return 0
    finally:
        lookout.site.close()


VIEW = Verb(
    "Look at runs and meshes in a browser, side by side.",
    view_arguments,
    view_command,
    ("view RUN", "view runs/quickstart/a-red-car-1 runs/quickstart/a-red-car-2", "view RUN model.glb --port 9000"),
)
