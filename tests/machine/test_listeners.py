"""Messages reach those who listen, in order, and a listener that fails does no harm."""

from __future__ import annotations

import dataclasses
import threading
from contextvars import copy_context
from pathlib import Path

import pytest

from threefusion.messages import Message, Noted, Warned, has_listeners, listening, send


def test_messages_reach_all_listeners_of_the_block_and_nobody_after_it() -> None:
    outer: list[Message] = []
    inner: list[Message] = []
    send(Noted("before"))
    assert not has_listeners()
    with listening(outer.append):
        with listening(inner.append):
            assert has_listeners()
            send(Noted("both"))
        send(Noted("one"))
    send(Noted("after"))
    assert outer == [Noted("both"), Noted("one")] and inner == [Noted("both")]


def test_a_listener_that_raises_is_named_once_and_dropped() -> None:
    heard: list[Message] = []

    class Careless:
        calls = 0

        def __call__(self, message: Message) -> None:
            self.calls += 1
            raise ValueError("no room\nat all")

    careless = Careless()
    with listening(careless, heard.append):
        send(Noted("first"))
        send(Noted("second"))
    name = "test_a_listener_that_raises_is_named_once_and_dropped.<locals>.Careless"
    named = Warned(f"{name} has failed and is not called again: ValueError: no room")
    assert heard == [named, Noted("first"), Noted("second")] and careless.calls == 1


def test_all_listeners_may_fail() -> None:
    def one(message: Message) -> None:
        raise OSError

    def other(message: Message) -> None:
        raise KeyError(message)

    with pytest.warns(RuntimeWarning, match="other has failed and is not called again") as warned, listening(one, other):
        send(Noted("first"))
        send(Noted("second"))
    assert len(warned) == 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_the_process_passes(error: type[BaseException]) -> None:
    def leave(message: Message) -> None:
        raise error

    with listening(leave), pytest.raises(error):
        send(Noted("first"))


def test_threads_are_heard_if_they_copy_the_context_and_a_failure_in_one_counts_in_all() -> None:
    heard: list[Message] = []

    def fails_in_thread(message: Message) -> None:
        if threading.current_thread() is not threading.main_thread():
            raise ValueError
        heard.append(message)

    with pytest.warns(RuntimeWarning, match="fails_in_thread has failed"), listening(fails_in_thread):
        for target in (send, copy_context().run):
            arguments = (Noted("thread"),) if target is send else (send, Noted("thread"))
            thread = threading.Thread(target=target, args=arguments)
            thread.start()
            thread.join()
            send(Noted(target.__name__))
    assert heard == [Noted("send")]


def test_every_message_is_frozen_and_on_the_page() -> None:
    page = (Path(__file__).parents[2] / "docs/logging-and-devices.md").read_text(encoding="utf-8")
    kinds = Message.__subclasses__()
    assert len(kinds) >= 20 and all(dataclasses.is_dataclass(kind) and kind.__dataclass_params__.frozen for kind in kinds)
    assert [kind.__name__ for kind in kinds if f"`{kind.__name__}`" not in page] == []
