"""Several scenes trained in one process: each is an ordinary run in a thread of its own, and they call networks together."""

from __future__ import annotations

import signal
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import copy_context
from functools import partial
from pathlib import Path
from types import FrameType

import pytorch_lightning as pl
import torch

from threefusion.callback.scenes import FirstStep, SharedInterrupt
from threefusion.config import Settings
from threefusion.guidance.prior.batcher import Batcher
from threefusion.guidance.prior.prior import DiffusionPrior
from threefusion.guidance.prior.shared import PriorPool
from threefusion.machine.labels import label, labelled_output
from threefusion.machine.memory import free_bytes, resident_bytes
from threefusion.machine.process import cores
from threefusion.messages import Failed, ScenesEnded, ScenesStarted, Stopped, Stopping, send
from threefusion.registry import build
from threefusion.run.folder import reopen
from threefusion.run.scene_folder import SceneRun
from threefusion.run.session import Session
from threefusion.run.threads import training_threads
from threefusion.run.training import exit_code, train

SPARE = 0.9
"""Share of the free memory that is used."""


class Crew:
    """The scenes of one process, and what they share."""

    def __init__(self, scenes: Sequence[SceneRun], until: int | None, at_once: int | None, planned: int | None) -> None:
        self.scenes, self.until, self.at_once, self.planned = scenes, until, at_once, planned
        self.batcher = Batcher(slots=cores())
        self.pool = PriorPool(self.batcher, [text for scene in scenes for text in texts_of(scene)])
        self.stopped = threading.Event()
        self.codes: dict[int, int] = {}
        """Exit codes by scene."""
        self._alone = threading.RLock()
        self._each = 0

    def run(self) -> None:
        """Train as many scenes at once as memory holds, and the others after them."""
        waiting, threads = deque(range(len(self.scenes))), []
        send(ScenesStarted(len(self.scenes), self.planned))
        while True:
            while waiting and not self.stopped.is_set() and self.has_room():
                threads.append(self.start(waiting.popleft()))
            if not self.batcher.serve() and (not waiting or self.stopped.is_set()):
                break
        for thread in threads:
            thread.join()
        send(ScenesEnded())

    def start(self, number: int) -> threading.Thread:
        """Start a scene, and return when it waits for its first prediction or has ended: it was built alone."""
        before = self.held_bytes()
        self.batcher.join(number)
        target, name = partial(copy_context().run, self.train, number), self.scenes[number].name
        thread = threading.Thread(target=target, name=name, daemon=True)
        thread.start()
        self.batcher.wait_for(number)
        if before is not None:
            self._each = max(self.held_bytes() - before, 0)
        return thread

    def has_room(self) -> bool:
        """Whether one more scene fits: its state, and in the backward pass as much again."""
        running = self.batcher.members
        if running == 0:
            return True
        if self.at_once is not None:
            return running < self.at_once
        free, held = free_bytes(self.pool.device), self.held_bytes()
        return free is None or held is None or held + 2 * self._each <= SPARE * free

    def held_bytes(self) -> int | None:
        """The bytes that are held where scenes are trained."""
        device = self.pool.device
        return torch.cuda.memory_allocated(device) if device.type == "cuda" else resident_bytes()

    def train(self, number: int) -> None:
        """Train a scene, in its thread; errors are sent and end this scene alone."""
        scene = self.scenes[number]
        with label(scene.name):
            try:
                with self.batcher.running():
                    code = train(scene.config, reopen(scene.run), self.until, SceneSession(self, number))
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else 1
            except BaseException as error:
                send(Failed(error))
                code = exit_code(error)
        self.codes[number] = code
        self.batcher.leave(number)

    @contextmanager
    def apart(self) -> Iterator[None]:
        """One scene at a time."""
        with self.batcher.waiting():
            self._alone.acquire()
        try:
            yield
        finally:
            self._alone.release()

    @contextmanager
    def stoppable(self) -> Iterator[None]:
        """Turn the first Ctrl-C or SIGTERM into a clean stop after the current steps; a second one kills."""
        previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def stop(number: int, frame: FrameType | None) -> None:
            self.stopped.set()
            signal.signal(number, signal.SIG_DFL)
            send(Stopping())

        for number in previous:
            signal.signal(number, stop)
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)


class SceneSession(Session):
    """The session of one of several scenes."""

    def __init__(self, crew: Crew, number: int) -> None:
        self.crew, self.number = crew, number

    def prior(self, cfg: Settings) -> DiffusionPrior:
        """A share of the prior."""
        return self.crew.pool.share(cfg, self.number)

    def interrupt(self) -> SharedInterrupt:
        """What stops all scenes."""
        return SharedInterrupt(self.crew.stopped, self.crew.planned)

    def callbacks(self) -> list[pl.Callback]:
        """What lets the others wait for this scene from its first step on."""
        return [FirstStep(lambda: self.crew.batcher.begin(self.number))]

    def apart(self) -> AbstractContextManager[None]:
        """A block in which no other scene is in one."""
        return self.crew.apart()

    def training(self, run: Path) -> AbstractContextManager[None]:
        """Nothing is said to other processes, of which there are none."""
        return nullcontext()

    def threads(self, small: bool) -> AbstractContextManager[None]:
        """One thread if the steps are small; torch keeps it until all scenes have ended."""
        return training_threads(small, restored=False)

    def ends(self) -> None:
        """Others no longer wait for this scene."""
        self.crew.batcher.leave(self.number)

    def stopped(self, message: Stopped) -> None:
        """Say how to go on, unless it was to stop."""
        if self.crew.planned is None or self.crew.stopped.is_set():
            super().stopped(message)


def texts_of(scene: SceneRun) -> list[str]:
    """All texts of a scene that are known before its objectives are built."""
    return [text for part in scene.config.parts for text in build(part.prompt).texts()]


def train_scenes(
    scenes: Sequence[SceneRun], until: int | None = None, at_once: int | None = None, planned: int | None = None
) -> dict[str, int]:
    """Train scenes together, at most `at_once` of them at the same time; by default as many as memory holds.

    With `planned`, each stops after this step of its first stage as after Ctrl-C: saved, and without an export.

    Returns the exit code of each that was started, by name: as of `train`, 2 for a user error, 1 for another.
    """
    threads = torch.get_num_threads()
    with labelled_output():
        crew = Crew(scenes, until, at_once, planned)
        try:
            with crew.stoppable():
                crew.run()
        finally:
            torch.set_num_threads(threads)
    return {scenes[number].name: code for number, code in sorted(crew.codes.items())}
