"""Lines of several threads stay whole and begin with the name of their thread."""

from __future__ import annotations

import io
import sys
import threading

from threefusion.machine.labels import Labelled, label, labelled_output


def test_lines_begin_with_the_name_of_their_thread(monkeypatch) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stdout", stream)

    def talk(name: str) -> None:
        with label(name):
            for number in range(50):
                print("line", number)
            print()
            sys.stdout.write("unfinished")

    with labelled_output():
        threads = [threading.Thread(target=talk, args=(name,)) for name in ("one", "two")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with label("one"), label(""):
            print("plain")
    lines = stream.getvalue().splitlines()
    for name in ("one", "two"):
        assert [line for line in lines if line.startswith(name)] == [f"{name}: line {number}" for number in range(50)]
    assert lines[-1] == "plain" and sys.stdout is stream


def test_a_thread_with_a_name_has_no_terminal() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    shown = Labelled(Terminal())
    assert shown.isatty()
    with label("one"):
        assert not shown.isatty()
