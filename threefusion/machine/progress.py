"""Says what a long command is doing, in messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from threefusion.messages import TaskEnded, TaskStarted, TaskStep, send

Item = TypeVar("Item")
_task: ContextVar[str] = ContextVar("task", default="")


@contextmanager
def progress(task: str) -> Iterator[None]:
    """Name the task for what `doing` and `counted` say inside the block; without such a block they are silent."""
    before = _task.set(task)
    send(TaskStarted(task))
    try:
        yield
    finally:
        send(TaskEnded(task))
        _task.reset(before)


def doing(what: str = "", done: int = 0, total: int | None = None) -> None:
    """Name what is being done, and how far it is."""
    if task := _task.get():
        send(TaskStep(task, what, done, total))


def counted(items: Iterable[Item], total: int, what: str = "") -> Iterator[Item]:
    """The items, counted while they are used."""
    for done, item in enumerate(items):
        doing(what, done, total)
        yield item
