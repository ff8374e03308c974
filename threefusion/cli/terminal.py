"""Prints what a run says: results on stdout, everything else on stderr. Loads no torch."""

from __future__ import annotations

import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from threefusion.cli.progress_line import ProgressLine
from threefusion.errors import UserError
from threefusion.machine.labels import label
from threefusion.messages import (
    Exported,
    Failed,
    Logged,
    Message,
    Noted,
    PageWritten,
    ScenesEnded,
    ScenesStarted,
    Served,
    StageEnded,
    StagesLeft,
    Started,
    Step,
    StepsEnded,
    Stopped,
    Stopping,
    TaskEnded,
    TaskStarted,
    TaskStep,
    Trained,
    Warned,
)

NOTE = "(the loss is no measure of quality: look at images/)"


class Terminal:
    """A listener for one command."""

    def __init__(self) -> None:
        self._steps: StepsLine | ScenesLine | None = None
        self._task: ProgressLine | None = None

    def __call__(self, message: Message) -> None:
        """Print a message, or draw how far the run is."""
        if result := RESULTS.get(type(message)):
            print(result(message))
        elif remark := REMARKS.get(type(message)):
            if text := remark(message):
                print(text, file=sys.stderr, flush=True)
        else:
            self._draw_task(message)
        self._draw_steps(message)

    def _draw_steps(self, message: Message) -> None:
        match message:
            case ScenesStarted():
                self._steps = ScenesLine(message)
            case Started() if self._steps is None:
                self._steps = StepsLine(message)
            case Step() | Logged() if self._steps:
                self._steps.draw(message)
            case StepsEnded(run) if isinstance(self._steps, ScenesLine):
                self._steps.leave(run)
            case StepsEnded() | ScenesEnded() if self._steps:
                self._steps.line.close()
                self._steps = None

    def _draw_task(self, message: Message) -> None:
        match message:
            case TaskStarted(task):
                self._task = ProgressLine(task)
            case TaskStep(task, what, done, total) if self._task:
                self._task.draw(f"{task}: {what}" if what else task, done, total)
            case TaskEnded() if self._task:
                self._task.close()
                self._task = None


class StepsLine:
    """The line of a training: step, iterations per second, remaining time, loss; in logs also the time by phase."""

    def __init__(self, start: Started) -> None:
        self.line = ProgressLine()
        self.line.draw("step", start.step, start.max_steps, NOTE)
        self._loss: float | None = None

    def draw(self, message: Step | Logged) -> None:
        """Draw it again, if it is time to; the loss is that of the last row."""
        if isinstance(message, Logged):
            self._loss = message.metrics.get("loss")
        elif message.rate and self.line.is_due("step"):
            note = [f"{message.rate:.1f} it/s"]
            if message.max_steps is not None:
                note.append(f"{timedelta(seconds=round((message.max_steps - message.step) / message.rate))} left")
            if not self.line.bar:
                note.append(phases(message.milliseconds))
            if self._loss is not None:
                note.append(f"loss {self._loss:.3g}")
            self.line.draw("step", message.step, message.max_steps, "  ".join(note))


class ScenesLine:
    """One line about all scenes that are trained in this process, each in a thread of its own."""

    def __init__(self, start: ScenesStarted) -> None:
        self.start, self.line = start, ProgressLine()
        self._lock = threading.Lock()
        self._steps: dict[Path, int] = {}
        self._taken, self._began = 0, 0.0

    def draw(self, message: Step | Logged) -> None:
        """A scene has reached a step."""
        if isinstance(message, Logged):
            return
        with self._lock, label(""):
            self._began = self._began or time.monotonic()
            self._taken += message.run in self._steps
            self._steps[message.run] = message.step
            rate = self._taken / max(time.monotonic() - self._began, 1e-9)
            note = f"{len(self._steps)} of {self.start.count} scenes  {rate:.1f} it/s"
            last = self.start.planned or message.max_steps
            if last is not None and self._taken:
                left = sum(last - taken for taken in self._steps.values())
                note += f"  {timedelta(seconds=round(left / rate))} left"
            self.line.draw("step", min(self._steps.values()), last, note)

    def leave(self, run: Path) -> None:
        """A scene takes no more steps."""
        with self._lock:
            self._steps.pop(run, None)


def cost(values: Mapping[str, Any]) -> str:
    """What a training has cost, in one line."""
    from threefusion.run.cost import speed  # loads torch, as who has trained did

    return speed(values)


def phases(milliseconds: Mapping[str, float]) -> str:
    """Where a step's time goes."""
    from threefusion.system.phases import as_text  # loads torch, as who trains did

    return as_text(milliseconds)


def starts(message: Started) -> str:
    """What the scene starts from, if from anything."""
    return f"{message.stage} starts {message.origin}".lstrip() if message.origin else ""


def stopped(message: Stopped) -> str:
    """Where a run has stopped, and how to go on."""
    stage = f" of stage {message.stage}" if message.stage else ""
    where = "interrupted" if message.step is None else f"stopped at step {message.step}{stage}"
    return f"{where}. Resume with: {message.resume}"


def failed(message: Failed) -> str:
    """The error, with where it was raised if it is a defect."""
    error = message.error
    return f"error: {error}" if isinstance(error, UserError) else "".join(traceback.format_exception(error))


Text = Callable[[Any], str]
RESULTS: dict[type[Message], Text] = {
    StageEnded: lambda message: f"{message.stage}: {cost(message.cost)}",
    Trained: lambda message: cost(message.cost),
    Exported: lambda message: f"{message.name}: {message.paths[0]}",
    StagesLeft: lambda message: f"stage {message.stage} is finished. Go on with: {message.resume}",
}
"""The lines of messages on stdout."""
REMARKS: dict[type[Message], Text] = {
    Noted: lambda message: message.text,
    Warned: lambda message: f"warning: {message.text}",
    Served: lambda message: f"viewer: {message.link}",
    Started: starts,
    Stopping: lambda message: "\nstopping after this step and saving; press Ctrl-C again to stop at once",
    PageWritten: lambda message: f"page: {message.path}",
    Stopped: stopped,
    Failed: failed,
}
"""The lines of messages on stderr; an empty one is not printed."""
