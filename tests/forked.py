"""Commands in clean processes that need not import torch anew: they are forked off a server that has imported it, and no more."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parents[1]
_server = get_context("forkserver")
_server.set_forkserver_preload(["threefusion.run.training", "threefusion.run.results", "threefusion.system.build"])


def nothing() -> None:
    """What a command does first when nothing else is given."""


@dataclass(frozen=True)
class Ended:
    """How a command has ended."""

    code: int
    output: str
    errors: str


class Command:
    """`python launch.py WORDS` in a process of its own, after a call of `before` in it."""

    def __init__(self, *words: object, cwd: Path = ROOT, before: Callable[[], None] = nothing, **variables: str) -> None:
        self._folder = TemporaryDirectory()
        files = [f"{self._folder.name}/{name}" for name in ("output", "errors")]
        environment = {**os.environ, **variables}
        self._process = _server.Process(target=_run, args=(list(map(str, words)), str(cwd), environment, before, files))
        self._process.start()

    @property
    def pid(self) -> int:
        """Number of the process, which must not have ended."""
        assert self._process.is_alive()
        return self._process.pid

    def end(self, timeout: float = 120) -> Ended:
        """How it ends.

        Raises:
            TimeoutError: it does not.
        """
        self._process.join(timeout)
        if self._process.exitcode is None:
            self._process.kill()
            raise TimeoutError(f"not ended after {timeout} s")
        texts = [Path(self._folder.name, name).read_text() for name in ("output", "errors")]
        self._folder.cleanup()
        return Ended(self._process.exitcode, *texts)


def command(*words: object, **options: object) -> Ended:
    """Run a command to its end."""
    return Command(*words, **options).end()


def ranks(count: int, *words: object, **options: object) -> list[Ended]:
    """Run processes of one job, as torchrun starts them."""
    job = {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
    started = [
        Command(*words, **options, **{name: str(value) for name, value in (job | {"RANK": rank, "LOCAL_RANK": rank}).items()})
        for rank in range(count)
    ]
    return [process.end() for process in started]


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def die_at(step: int, stage: str = "") -> None:
    """Let this process be killed when this step of a training begins, or of this stage."""
    from threefusion.system.text_to_3d import TextTo3D

    proper = TextTo3D.training_step

    def deadly(self: TextTo3D, *arguments: object) -> object:
        if self.global_step == step and stage in ("", self.config.name):
            os.kill(os.getpid(), signal.SIGKILL)
        return proper(self, *arguments)

    TextTo3D.training_step = deadly


def _run(words: list[str], cwd: str, environment: dict[str, str], before: Callable[[], None], files: list[str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    for number, file in enumerate(files, start=1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
    sys.argv = [str(ROOT / "launch.py"), *words]
    before()
    from threefusion.cli.main import main

    main(words)
