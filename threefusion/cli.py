"""The command line. It answers questions without loading torch, and prepares the process before a verb that needs it."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import threefusion
from threefusion.bench.command import BENCH
from threefusion.errors import UserError
from threefusion.evaluate.command import EVAL
from threefusion.parser import PROGRAM, Parser, Verb, overview, parse
from threefusion.perf.command import PERF
from threefusion.plan.command import PLAN
from threefusion.suggest import nearest

if TYPE_CHECKING:
    from threefusion.config import RunConfig


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and leave the process with its exit code: 0, 2 for a mistake of the user's, 130 for Ctrl-C."""
    try:
        sys.exit(run(sys.argv[1:] if arguments is None else arguments))
    except UserError as error:
        from threefusion.config import ConfigError

        print(error if isinstance(error, ConfigError) else f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # the reader of a pipe, such as `head`, has seen enough
        sys.stderr.close()
        sys.exit(0)
    except OSError as error:
        if error.filename is None:
            raise
        print(f"error: {error.filename}: {error.strerror}", file=sys.stderr)
        sys.exit(2)


def run(arguments: list[str]) -> int:
    """Do what `arguments` say and return the exit code.

    Raises:
        UserError: they say nothing that can be done.
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
        raise UserError(f"no command is called {name!r}{nearest(name, VERBS)}")
    return VERBS[name].action(parse(VERBS, name, rest))


def run_folder(path: Path) -> Path:
    """`path`, if a run lies there.

    Raises:
        UserError: none does.
    """
    if not (path / "config.yaml").is_file():
        raise UserError(f"{path}: {'not a run folder (it has no config.yaml)' if path.is_dir() else 'no such run folder'}")
    return path


def train_arguments(parser: Parser) -> None:
    """Arguments of `train`."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="the YAML file that says how")
    parser.add_argument("--prompt", metavar="TEXT", help="what to make; short for prompt.text=TEXT")
    parser.add_argument("--out", type=Path, metavar="DIR", help="the run folder; default runs/<config>/<prompt>-<n>")
    parser.add_argument("--resume", type=Path, metavar="RUN", help="continue the run in this folder; needs no --config")
    parser.add_argument("--anyway", action="store_true", help="train although the prior does not know the prompt's words")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings that differ from the config")


def make(arguments: argparse.Namespace) -> int:
    """Check the whole config, then train and export."""
    from threefusion.config import load_config

    given = [text for text in arguments.overrides if "=" not in text]
    if given:
        raise UserError(f"{given[0]!r}: expected key=value. A config is given with --config {given[0]}")
    overrides = [*arguments.overrides, *([] if arguments.prompt is None else [f"prompt.text={arguments.prompt}"])]
    if arguments.resume is None and arguments.config is None:
        raise UserError(f"train needs --config FILE or --resume RUN. See: {PROGRAM} train --help")
    if arguments.resume is not None and (arguments.config, arguments.out) != (None, None):
        raise UserError("--resume RUN takes its config and its folder from RUN: leave --config and --out away")
    file = arguments.config or run_folder(arguments.resume) / "config.yaml"
    config = load_config(file, overrides)
    if not (arguments.anyway or arguments.resume):  # words of a run that is continued were accepted when it began
        check_words(config)
    prepare()
    from threefusion.run.folder import discard_unused, new_run_folder
    from threefusion.run.training import train

    if arguments.resume:
        return train(config, arguments.resume)
    run = new_run_folder(config, arguments.out)
    try:
        return train(config, run)
    except UserError:
        discard_unused(run)
        raise


def check_words(config: RunConfig) -> None:
    """Warn of words of the prompt that the prior does not know.

    Raises:
        UserError: it knows no object in the prompt.
    """
    from threefusion.guidance.prior.vocabulary import unknown_words

    for warning in unknown_words(config):
        print(f"warning: {warning}", file=sys.stderr)


def prepare() -> None:
    """Make the settings of the process that torch must find."""
    from threefusion.process import prepare_process

    prepare_process()


def render_arguments(parser: Parser) -> None:
    """Arguments of `render`."""
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder")
    parser.add_argument("--views", type=int, default=60, metavar="N", help="frames of one turn (60)")
    parser.add_argument(
        "--mode", choices=("color", "albedo", "textureless", "normal"), default="color", help="what is shown (color)"
    )
    parser.add_argument(
        "--light", choices=("camera", "orbit"), default="camera", help="orbit: the light goes round the other way than the camera"
    )
    parser.add_argument("--size", type=int, default=256, metavar="N", help="height and width in pixels (256)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="a .mp4 file, or a folder for .png files")


def film(arguments: argparse.Namespace) -> int:
    """Write a turntable."""
    if arguments.views < 1 or arguments.size < 2 or arguments.size % 2:
        raise UserError("--views: at least 1; --size: an even number of at least 2")
    folder = run_folder(arguments.run)
    prepare()
    from threefusion.run.results import render

    print(render(folder, arguments.views, arguments.mode, arguments.light, arguments.size, arguments.out))
    return 0


def export_arguments(parser: Parser) -> None:
    """Arguments of `export`."""
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder")
    parser.add_argument("--format", nargs="+", choices=("glb", "obj", "ply", "stl"), default=["glb"], help="file formats (glb)")


def write_meshes(arguments: argparse.Namespace) -> int:
    """Write mesh files."""
    folder = run_folder(arguments.run)
    prepare()
    from threefusion.run.results import export

    for path in export(folder, arguments.format):
        print(path)
    return 0


def check_arguments(parser: Parser) -> None:
    """Arguments of `check`."""
    parser.add_argument("words", nargs="+", metavar="CONFIG|key=value", help="config files, and settings that differ from them")


def check(arguments: argparse.Namespace) -> int:
    """Check configs without building anything."""
    from threefusion.bench.plan import check_file
    from threefusion.config import ConfigError

    overrides = [word for word in arguments.words if "=" in word]
    files = [word for word in arguments.words if "=" not in word]
    if not files:
        raise UserError(f"check needs at least one config file. See: {PROGRAM} check --help")
    wrong = 0
    for file in files:
        try:
            check_file(Path(file), overrides)
            print(f"{file}: ok")
        except ConfigError as error:
            print(error, file=sys.stderr)
            wrong += 1
    return 2 if wrong else 0


def list_arguments(parser: Parser) -> None:
    """Arguments of `list`."""
    parser.add_argument("kind", nargs="?", metavar="KIND", help="one kind only: prompt, camera, geometry, …")
    parser.add_argument("--json", action="store_true", help="for programs")


def list_components(arguments: argparse.Namespace) -> int:
    """Print every component, and plugins that cannot be used."""
    from threefusion.describe import as_table, components, problems

    found, wrong = components(arguments.kind), problems()
    print(as_json({"components": found, "problems": wrong}) if arguments.json else as_table(found))
    for problem in [] if arguments.json else wrong:
        print(problem, file=sys.stderr)
    return 0


def describe_arguments(parser: Parser) -> None:
    """Arguments of `describe`."""
    parser.add_argument("kind", metavar="KIND", help="for example guidance")
    parser.add_argument("name", metavar="NAME", help="for example sds")
    parser.add_argument("--json", action="store_true", help="for programs")


def describe_component(arguments: argparse.Namespace) -> int:
    """Print the fields of one component."""
    from threefusion.describe import as_page, describe

    described = describe(arguments.kind, arguments.name)
    print(as_json(described) if arguments.json else as_page(described))
    return 0


def doctor_arguments(parser: Parser) -> None:
    """Arguments of `doctor`."""
    parser.add_argument("--json", action="store_true", help="for programs")


def doctor(arguments: argparse.Namespace) -> int:
    """Print what this machine has."""
    from threefusion.doctor import as_page, examine

    found = examine()
    print(as_json(found) if arguments.json else as_page(found))
    return 0


def as_json(value: Any) -> str:
    """Indented JSON."""
    return json.dumps(value, indent=2, ensure_ascii=False)


VERBS = {
    "train": Verb(
        "Make a scene from a prompt: train, then export.",
        train_arguments,
        make,
        (
            'train --config configs/quickstart.yaml --prompt "a red car"',
            "train --config configs/quickstart.yaml seed=3 guidance.guidance_scale=20",
            "train --resume runs/quickstart/a-red-car-1",
        ),
    ),
    "render": Verb(
        "Film the result of a run from all sides.",
        render_arguments,
        film,
        ("render RUN --mode normal", "render RUN --light orbit --size 512 --out relit.mp4"),
    ),
    "export": Verb("Write the result of a run as a mesh.", export_arguments, write_meshes, ("export RUN --format glb obj",)),
    "bench": BENCH,
    "eval": EVAL,
    "perf": PERF,
    "plan": PLAN,
    "check": Verb(
        "Check configs, without building anything.",
        check_arguments,
        check,
        ("check configs/*.yaml", "check configs/quickstart.yaml guidance.prior.type=latent"),
    ),
    "list": Verb("List components, plugins included.", list_arguments, list_components, ("list", "list loss --json")),
    "describe": Verb(
        "Explain a component: fields, types, defaults.",
        describe_arguments,
        describe_component,
        ("describe geometry density-field",),
    ),
    "doctor": Verb("Say what this machine has and what is missing.", doctor_arguments, doctor, ("doctor", "doctor --json")),
}
"""In the order of `--help`."""
