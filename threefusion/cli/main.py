"""The command line. Loads no torch before a command needs it."""

from __future__ import annotations

import gc
import sys

import threefusion
from threefusion.cli.bench import BENCH
from threefusion.cli.check import CHECK
from threefusion.cli.components import DESCRIBE, DOCTOR, LIST
from threefusion.cli.eval import EVAL
from threefusion.cli.gallery import GALLERY
from threefusion.cli.init import INIT
from threefusion.cli.parser import overview, parse
from threefusion.cli.perf import PERF
from threefusion.cli.plan import PLAN
from threefusion.cli.preview import PREVIEW
from threefusion.cli.results import EXPORT, RENDER
from threefusion.cli.terminal import Terminal
from threefusion.cli.train import TRAIN
from threefusion.cli.view import VIEW
from threefusion.errors import UserError, nearest
from threefusion.machine.process import end_process, is_outermost
from threefusion.machine.standins import use_stand_ins
from threefusion.messages import listening


def program() -> None:
    """`main` as a program, in a process that is its own: packages that Lightning imports in vain are not loaded, and at the
    end no object is taken apart, which costs seconds once torch is loaded.

    A profiler or a debugger that runs it gets the exit code as usual.
    """
    use_stand_ins()
    try:
        main()
    except SystemExit as leaving:
        if is_outermost(sys._getframe().f_back):
            end_process(int(leaving.code or 0))
        raise


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code: 0, 2 for a user error, 130 for Ctrl-C."""
    given = sys.argv[1:] if arguments is None else arguments
    if given[:1] and given[0] in BRIEF:
        gc.disable()  # what they leave behind goes with the process
    try:
        sys.exit(run(given))
    except UserError as error:
        from threefusion.config import ConfigError

        print(error if isinstance(error, ConfigError) else f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has closed it
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        if error.filename is None:
            raise
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        sys.exit(2)
    finally:
        gc.enable()


def run(arguments: list[str]) -> int:
    """Run the command that `arguments` name and return its exit code.

    Raises:
        UserError: they name no command, or its arguments are wrong.
    """
    for text in arguments:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UserError(f"{text!a}: not text in UTF-8") from None
    if not arguments or arguments[0] in ("-h", "--help"):
        print(overview(VERBS))
        return 0
    if arguments[0] == "--version":
        print(threefusion.__version__)
        return 0
    name, *rest = arguments
    if name not in VERBS:
        raise UserError(f"unknown command {name!r}{nearest(name, VERBS)}")
    with listening(Terminal()):
        return VERBS[name].action(parse(VERBS, name, rest))


VERBS = {
    "preview": PREVIEW,
    "train": TRAIN,
    "render": RENDER,
    "export": EXPORT,
    "view": VIEW,
    "bench": BENCH,
    "eval": EVAL,
    "gallery": GALLERY,
    "perf": PERF,
    "plan": PLAN,
    "init": INIT,
    "check": CHECK,
    "list": LIST,
    "describe": DESCRIBE,
    "doctor": DOCTOR,
}
"""In the order of `--help`."""
BRIEF = ("check", "list", "describe")
"""Commands that build nothing."""
