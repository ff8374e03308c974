"""A copy of what a reader has, in which the blocks of a page are run in order.

- A `yaml` block whose first line is a comment with a path is that file and stands alone; any other is laid over the quickstart.
- A `python` block whose first line is such a comment is that file; any other is executed, all of a page in one namespace.
- `python launch.py …` and `python examples/…` in a `bash` block are run. `RUN` and `runs/…` mean a small finished run,
  `runs/<config>/preview-…` what a preview of the page has left. A training is checked as it stands, then run for one step (of
  each stage, or seed) at a tiny size with the closed-form prior, in this process; `--from-stage` gets a finished run of the
  config that the run is filed under. A benchmark is checked as it stands, `perf` is run once at the smallest sizes, a plan is
  made with small renders and without an export.
"""

from __future__ import annotations

import re
import runpy
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from glob import glob
from pathlib import Path
from types import ModuleType
from unittest import mock

from doc_blocks import ROOT, Block

from threefusion import registry
from threefusion.cli.check import check_file
from threefusion.cli.main import run
from threefusion.cli.perf import TAKES
from threefusion.config import RunConfig, load_config
from threefusion.config.catalogue import Catalogue
from threefusion.geometry.encoding.settings import HashGridConfig
from threefusion.renderer.settings import VolumeConfig

COPIED = ("configs", "plugins", "examples")
TINY = ["trainer.max_steps=1", "trainer.accelerator=cpu", "output.image_size=8", "output.image_interval=1"]
TINY += ["output.turntable_size=8", "output.turntable_frames=2"]
SHORTER = {"render": ["--views", "2", "--size", "16"], "view": ["--port", "0"]}
"""What is added to a command; a page that `view` serves ends at once."""
LEFT_OUT = ("trainer.devices", "logger.mode", "logger.type=wandb", "guidance.prior.")
"""What a training in this process does without; tests/system trains with several processes and with W&B."""


class Workspace:
    """Runs blocks in the current directory."""

    def __init__(self, finished: Path) -> None:
        self.finished = finished
        self.namespace = ModuleType("documented")
        sys.modules["documented"] = self.namespace

    def run(self, block: Block) -> None:
        """Do what the block says."""
        if block.language == "yaml":
            self.check(block)
        elif block.language == "python":
            self.execute(block)
        elif block.language == "bash":
            for words in block.commands:
                self.command(words)

    def check(self, block: Block) -> None:
        """The block as a config."""
        path = Path(block.file or "configs/block.yaml")
        alone = block.file or "extends:" in block.text
        path.write_text(block.text if alone else f"extends: quickstart.yaml\n{block.text}", encoding="utf-8")
        check_file(path, [])

    def execute(self, block: Block) -> None:
        """The block as a file, or as a piece of a script."""
        if block.file:
            Path(block.file).parent.mkdir(parents=True, exist_ok=True)
            Path(block.file).write_text(block.text, encoding="utf-8")
        if not block.file or not block.file.startswith("plugins/"):
            exec(compile(block.text, str(block), "exec"), self.namespace.__dict__)

    def command(self, words: list[str]) -> None:
        """One call of the program."""
        if "--from-stage" in words:
            words = self.finished_stages(words)
        verb, *rest = [self.in_finished_run(word) for word in words]
        if verb.endswith(".py"):
            with mock.patch.object(sys, "argv", [verb, *rest]):
                runpy.run_path(verb, run_name="__main__")
            return
        if verb == "bench":
            verb, rest = "check", [rest[rest.index("--config") + 1], *(word for word in rest if re.match(r"\w[\w.]*=", word))]
        elif verb in ("train", "preview"):
            rest = (self.shrunk if verb == "train" else self.short_preview)(rest)
        elif verb == "plan":
            settings = [word for word in rest[1:] if not word.startswith("--")]
            rest += [*sizes(load_config(Path(rest[0]), settings)), "exporter=null", "output.image_size=8"]
        elif verb in SHORTER:
            rest += SHORTER[verb]
        elif verb == "perf":
            rest = quick(rest)
        elif verb == "gallery":
            shutil.copytree(self.finished, "runs/quickstart/finished", dirs_exist_ok=True)
        elif verb == "check":
            rest = [path for word in rest for path in (sorted(glob(word)) or [word])]
        call(verb, *rest)

    def in_finished_run(self, word: str) -> str:
        """`RUN`, `runs/<config>/<run>` and files in them, also as the value of a setting, as those of a finished run.

        Previews are where the page's own `preview` has put them.
        """
        named = re.match(r"([\w.]+=)?(RUN|runs/[^/]+/(?!preview-)[^/]+)(/.*)?$", word)
        return f"{named[1] or ''}{self.copy_of_run()}{named[3] or ''}" if named else word

    def copy_of_run(self) -> Path:
        """A finished run that may be changed."""
        run = Path("finished")
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(self.finished, run)
        return run

    def finished_stages(self, words: list[str]) -> list[str]:
        """Arguments that train stages of a finished run again, after that run was made."""
        at = words.index("--resume") + 1
        shutil.rmtree("staged", ignore_errors=True)
        call("train", *self.shrunk(["--config", f"configs/{Path(words[at]).parts[1]}.yaml", "--out", "staged"]))
        return [*words[:at], "staged", *words[at + 1 :]]

    def short_preview(self, words: list[str]) -> list[str]:
        """Arguments of `preview` for one step of two of each seed."""
        named = words if "--config" in words else ["--config", "configs/quickstart.yaml", *words]
        if "--steps" in named:
            at = named.index("--steps")
            named = named[:at] + named[at + 2 :]
        small = [re.sub(r"steps=1$", "steps=2", word) for word in self.shrunk(named)]
        return [*small, "--steps", "1"]

    def shrunk(self, words: list[str]) -> list[str]:
        """Arguments of `train` for a training of one step, after a check of the arguments as they stand."""
        if "--from-stage" in words:
            return [re.sub(r"steps=\d+", "steps=2", word) for word in words]
        if "--continue-from" in words:
            return words
        if "--resume" in words:
            steps = [f"trainer.max_steps={2 + int('=' in word)}" for word in words[-1:]]
            return [word for word in words if "=" not in word] + steps
        overrides = [word for word in words if "=" in word and not word.startswith("--")]
        file = Path(words[words.index("--config") + 1])
        options = {"--prompt": "prompt.text", "--mesh": "geometry.mesh"}
        given = [f"{key}={words[words.index(option) + 1]}" for option, key in options.items() if option in words]
        config = load_config(file, [*overrides, *given])
        stages = config.stages
        kept = [word for word in words if not word.startswith(LEFT_OUT)]
        small = [*TINY, "exporter=null"]
        if any(hasattr(objective, "prior") for objective in config.guidance.values()):
            small += ["guidance.prior=gaussian", "guidance.prior.image_size=8"]
        if any(getattr(objective, "input", "") == "latents" for objective in config.guidance.values()):
            small.append("guidance.input=image")  # that prior has none
        plain = [*(word for word in overrides if word in kept), *given]
        if stages:
            small = [word for word in small if not word.startswith("trainer.max_steps")]
            small += [f"stages.{index}.steps=1" for index in range(len(stages))]
            grids = [index for index, stage in enumerate(stages) if hasattr(stage.geometry, "resolution")]
            small += [f"stages.{index}.geometry.resolution=24" for index in grids]
        return [*kept, *small, *sizes(load_config(file, [*plain, *small]))]


def quick(words: list[str]) -> list[str]:
    """Arguments of `perf` for one repetition at the smallest sizes, of one subject in place of all."""
    subject, *options = ["march" if word == "all" else word for word in words]
    small = {"points": "64", "batch": "1", "resolution": "8"}
    smallest = [word for name in TAKES[subject] if name in small for word in (f"--{name}", small[name])]
    return [subject, *options, *smallest, "--repetitions", "1"]


def sizes(config: RunConfig) -> list[str]:
    """Overrides that make renders and tables small, where the chosen components have such settings."""
    found = [f"camera.{side}=8" for side in ("height", "width") if hasattr(config.camera, side)]
    if isinstance(config.renderer, VolumeConfig):
        found.append("renderer.sampler.samples_per_ray=8")
    if isinstance(getattr(config.geometry, "encoding", None), HashGridConfig):
        found.append("geometry.encoding.log2_table_size=8")
    return found


def call(*words: str) -> None:
    """The program, in this process; it must succeed."""
    with mock.patch("threefusion.run.view.Lookout.turn", side_effect=KeyboardInterrupt):
        assert run(list(words)) == 0, words


def inside(module: ModuleType, folder: Path) -> bool:
    """Whether a module was loaded from `folder`."""
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).is_relative_to(folder)


@contextmanager
def alone() -> Iterator[None]:
    """The plugins of the current directory in place of those that other tests have loaded, and nothing of them afterwards."""
    Catalogue(()).entries()  # those of this package are registered once, when they are first imported
    entries, path = dict(registry.ENTRIES), list(sys.path)
    others = {name: module for name, module in sys.modules.items() if inside(module, ROOT / "plugins")}
    sys.path[:] = [folder for folder in path if not Path(folder).is_relative_to(ROOT / "plugins")]
    for name in others:
        del sys.modules[name]
    try:
        yield
    finally:
        for name in [name for name, module in sys.modules.items() if inside(module, Path.cwd())]:
            del sys.modules[name]
        registry.ENTRIES.clear()
        registry.ENTRIES.update(entries)
        sys.modules.update(others)
        sys.path[:] = path


def furnish(folder: Path) -> None:
    """Put what a reader has into `folder`."""
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "runs"))
    (folder / "plugins").mkdir(exist_ok=True)
