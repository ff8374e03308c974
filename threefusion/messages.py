"""What a run says while it works: typed messages to whoever listens. The package prints nothing itself; its commands listen."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from threefusion.errors import first_line


class Message:
    """The base class of all messages."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Noted(Message):
    """A sentence that the user should read."""

    text: str


@dataclass(frozen=True, slots=True)
class Warned(Message):
    """A sentence about what may spoil the result."""

    text: str


@dataclass(frozen=True, slots=True)
class ScenesStarted(Message):
    """This many runs share the process: their messages are sent by a thread for each."""

    count: int
    planned: int | None
    """The step at which they are stopped, None if each goes on to its end."""


@dataclass(frozen=True, slots=True)
class ScenesEnded(Message):
    """All of them have ended."""


@dataclass(frozen=True, slots=True)
class Started(Message):
    """The steps of a run, or of one of its stages, begin or go on."""

    run: Path
    """The run folder."""
    stage: str
    """Empty in a run without stages."""
    step: int
    """Optimiser steps of this stage up to now."""
    max_steps: int | None
    """The step at which the stage ends, None if only the time limits it."""
    earlier_steps: int
    """Steps of the stages before."""
    origin: str
    """What the scene starts from, such as "from run …"; empty for one that starts from nothing, or goes on."""


@dataclass(frozen=True, slots=True)
class Step(Message):
    """An optimiser step has ended."""

    run: Path
    stage: str
    step: int
    max_steps: int | None
    rate: float | None
    """Steps per second since `Started`, without the first one, which may compile kernels; None after that one."""
    milliseconds: Mapping[str, float]
    """Of a step by phase, mean since `Started`."""


@dataclass(frozen=True, slots=True)
class Logged(Message):
    """A row of metrics.csv, and what belongs to it: every `trainer.log_every_n_steps` steps."""

    run: Path
    stage: str
    step: int
    metrics: Mapping[str, float]
    """The columns of the row: means since the row before, losses unweighted."""
    weights: Mapping[str, float]
    """By which the objectives and losses enter the sum at this step."""
    learning_rates: Mapping[str, float]
    """`lr`, or `lr/GROUP` for every group of the optimiser."""
    milliseconds: Mapping[str, float]
    """Of a step by phase, mean since the row before."""


@dataclass(frozen=True, slots=True)
class Served(Message):
    """A page shows the run while it trains."""

    link: str
    """The link to it, and below how to reach it from elsewhere."""


@dataclass(frozen=True, slots=True)
class Preview(Message):
    """A picture of the scene was written."""

    step: int
    path: Path


@dataclass(frozen=True, slots=True)
class Saved(Message):
    """A checkpoint was written."""

    step: int
    path: Path


@dataclass(frozen=True, slots=True)
class Stopping(Message):
    """The run will stop after this step, because it was interrupted."""


@dataclass(frozen=True, slots=True)
class StepsEnded(Message):
    """No step follows in this stage now: all are done, or the run was stopped or has failed."""

    run: Path
    stage: str


@dataclass(frozen=True, slots=True)
class StageEnded(Message):
    """A stage is finished."""

    run: Path
    stage: str
    cost: Mapping[str, Any] = field(repr=False)
    """As in its report.json."""


@dataclass(frozen=True, slots=True)
class Trained(Message):
    """The last stage is finished; the export follows."""

    run: Path
    cost: Mapping[str, Any] = field(repr=False)
    """Of all stages, as in report.json."""


@dataclass(frozen=True, slots=True)
class TaskStarted(Message):
    """Something long begins that is no training, such as an export."""

    task: str


@dataclass(frozen=True, slots=True)
class TaskStep(Message):
    """Where it is."""

    task: str
    what: str
    """The part of the task that begins or goes on, empty if it has no parts."""
    done: int
    total: int | None
    """How many things are to be done, None if they are not counted."""


@dataclass(frozen=True, slots=True)
class TaskEnded(Message):
    """It has ended, or failed."""

    task: str


@dataclass(frozen=True, slots=True)
class Exported(Message):
    """Files of a result were written."""

    run: Path
    name: str
    """The exporter's name where there are several, else `mesh`; `pictures` for pictures, which are not exported."""
    paths: tuple[Path, ...]
    """The main file first."""


@dataclass(frozen=True, slots=True)
class PageWritten(Message):
    """The page of a run that has ended is up to date."""

    path: Path


@dataclass(frozen=True, slots=True)
class Stopped(Message):
    """The run was interrupted and has saved."""

    run: Path
    stage: str
    step: int | None
    """None between the stages or in the export."""
    resume: str
    """The command that goes on."""


@dataclass(frozen=True, slots=True)
class StagesLeft(Message):
    """The last of the stages that were asked for is finished."""

    run: Path
    stage: str
    resume: str
    """The command that goes on."""


@dataclass(frozen=True, slots=True)
class Failed(Message):
    """One of several runs in this process has ended with an error; the others go on."""

    error: BaseException
    """A `UserError`, or one that is a defect."""


@dataclass(frozen=True, slots=True)
class Ended(Message):
    """A run has ended."""

    run: Path
    code: int
    """Its exit code: 0, 2 for a user error, 130 if it was interrupted, 1 for another error."""


Listener = Callable[[Message], object]


class Subscription:
    """A listener for as long as it works."""

    __slots__ = ("listener",)

    def __init__(self, listener: Listener) -> None:
        self.listener: Listener | None = listener

    def deliver(self, message: Message) -> None:
        """Pass a message on. A listener that raises is named to the others and never called again."""
        if self.listener is None:
            return
        try:
            self.listener(message)
        except Exception as error:
            if (failed := self.listener) is not None:  # not if it has failed in another thread meanwhile
                self.listener = None
                name = getattr(failed, "__qualname__", type(failed).__qualname__)
                text = f"{name} has failed and is not called again: {type(error).__name__}: {first_line(error)}"
                if any(one.listener for one in _subscriptions.get()):
                    send(Warned(text))
                else:  # nobody is left whom a message would reach
                    warnings.warn(text, RuntimeWarning, stacklevel=3)


_subscriptions: ContextVar[tuple[Subscription, ...]] = ContextVar("listeners", default=())


def has_listeners() -> bool:
    """Whether somebody listens: what costs time to say need not be said otherwise."""
    return bool(_subscriptions.get())


def send(message: Message) -> None:
    """Pass a message to all who listen, one after the other, in this thread."""
    for one in _subscriptions.get():
        one.deliver(message)


@contextmanager
def listening(*listeners: Listener) -> Iterator[None]:
    """Pass messages that are sent inside the block to these listeners too, those of threads that copy its context included.

    A listener is called where the message is sent, between two operations of the run, which waits for it. One that raises an
    `Exception` is not called again, and the run goes on.

    >>> with listening(print):
    ...     send(Noted("half of it is done"))
    Noted(text='half of it is done')
    """
    before = _subscriptions.set((*_subscriptions.get(), *map(Subscription, listeners)))
    try:
        yield
    finally:
        _subscriptions.reset(before)
