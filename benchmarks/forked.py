"""Small runs in forked processes, with faults: for benchmarks/faults.py."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from threefusion.cli.main import main as threefusion

WORDS = (
    "prompt.text=a red ball", "camera={type: orbital, batch_size: 2, height: 8, width: 8, albedo_steps: 4}",
    "geometry={type: density-field, radius: 0.8, encoding: dense-grid}", "material=diffuse", "background=solid",
    "renderer={type: volume, sampler: {type: occupancy, samples_per_ray: 8}}", "optimizer.lr=0.02",
    "guidance={type: sds, guidance_scale: 1, prior: {type: gaussian, image_size: 8}}", "facing.steps=[]",
    "exporter={type: mesh, resolution: 32, texture_size: 64, views: 2}", "trainer.accelerator=cpu",
    "output={image_size: 16, turntable_frames: 2, turntable_size: 16, image_interval: 50, checkpoint_interval: 20}",
)  # fmt: skip
CONFIG = Path(__file__).parents[1] / "configs" / "quickstart.yaml"
LIMIT_SECONDS = 240.0
HANGS = -1000


@dataclass(frozen=True)
class Ended:
    """How a command has ended."""

    code: int
    output: str
    errors: str


def call(words: Sequence[object], before: Callable[[], None] = lambda: None) -> Ended:
    """Run a command in a forked process, after `before` in it: importing torch anew would take longer than the command."""
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        child = os.fork()
        if child == 0:
            os.dup2(output.fileno(), 1)
            os.dup2(errors.fileno(), 2)
            code = 70
            try:
                before()
                threefusion([str(word) for word in words])
            except SystemExit as error:
                code = error.code if isinstance(error.code, int) else 0
            except BaseException:
                sys.excepthook(*sys.exc_info())
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        deadline = time.monotonic() + LIMIT_SECONDS
        while (done := os.waitpid(child, os.WNOHANG))[0] == 0:
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return Ended(HANGS, "", "")
            time.sleep(0.01)
        for file in (output, errors):
            file.seek(0)
        texts = [file.read().decode(errors="replace") for file in (output, errors)]
        return Ended(os.waitstatus_to_exitcode(done[1]), *texts)


def obey_permissions() -> None:
    """Give up the right of root to write to what is read-only."""
    if os.geteuid() == 0:
        libc, header, sets = ctypes.CDLL(None), (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
        libc.capget(header, sets)
        sets[0] &= ~0b110  # CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH
        libc.capset(header, sets)


def fill_disk(limit: int) -> None:
    """Let no file become larger than `limit` bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))


def train(out: Path, steps: int, *words: str, before: Callable[[], None] = lambda: None) -> Ended:
    """Start a small run."""
    every = f"trainer={{max_steps: {steps}, log_every_n_steps: 7, accelerator: cpu}}"
    return call(["train", "--config", CONFIG, "--anyway", "--out", out, *WORDS, every, *words], before)


def watch(run: Path, act: Callable[[int], None]) -> None:
    """Call `act` with the number of each operation on a file below `run` in this process."""
    count = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal count
        if event in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir") and str(arguments[0]).startswith(str(run)):
            count += 1
            act(count)

    sys.addaudithook(hook)


def die_at_step(step: int) -> None:
    """Be killed when this training step begins."""
    from threefusion.system.text_to_3d import TextTo3D

    proper = TextTo3D.training_step

    def deadly(self: TextTo3D, *arguments: object) -> object:
        if self.global_step == step:
            os.kill(os.getpid(), signal.SIGKILL)
        return proper(self, *arguments)

    TextTo3D.training_step = deadly


def die_at_operation(run: Path, number: int) -> None:
    """Be killed before this operation on a file of the run."""
    watch(run, lambda count: os.kill(os.getpid(), signal.SIGKILL) if count == number else None)
