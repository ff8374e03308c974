"""What a run says is printed: results on stdout, the rest on stderr, progress as a bar on a terminal and as lines elsewhere."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from threefusion.cli import progress_line as module
from threefusion.cli.progress_line import ProgressLine
from threefusion.cli.terminal import Terminal
from threefusion.machine.progress import counted, doing, progress
from threefusion.messages import listening

ROOT = Path(__file__).parents[2]


@pytest.fixture
def clock(monkeypatch):
    """The time, which tests move by hand."""
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_a_log_has_a_line_for_each_task_and_one_every_ten_seconds(clock, capsys):
    with listening(Terminal()), progress("mesh"):
        doing("surface")
        doing("surface")
        for _ in counted(range(25), 25, "colours"):
            clock[0] += 1.0
    out, lines = capsys.readouterr()
    assert out == ""
    assert lines.splitlines() == [
        "mesh: surface", "mesh: colours 0/25", "mesh: colours 10/25", "mesh: colours 20/25",
    ]  # fmt: skip


def test_outside_a_task_nothing_is_shown_and_items_pass_through(capsys):
    with listening(Terminal()):
        doing("surface")
        assert list(counted("abc", 3)) == ["a", "b", "c"]
        with pytest.raises(KeyError), progress("mesh"):
            raise KeyError
        doing("after the error")
    assert capsys.readouterr() == ("", "")


def test_a_line_of_a_training_without_a_last_step_counts_up(clock, capsys):
    line = ProgressLine()
    line.draw("step", 0, None)
    clock[0] += 11
    line.draw("step", 7, None, "3.0 it/s")
    assert capsys.readouterr().err.splitlines() == ["step", "step 7  3.0 it/s"]


def test_a_terminal_shows_a_bar_that_leaves_stdout_alone():
    code = (
        "from threefusion.cli.terminal import Terminal\n"
        "from threefusion.machine.progress import counted, progress\n"
        "from threefusion.messages import listening\n"
        "with listening(Terminal()), progress('[b]film'):\n"
        "    for _ in counted(range(3), 3): print('a result')\n"
    )
    controller, terminal = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    done = subprocess.run([sys.executable, "-c", code], stderr=terminal, stdout=subprocess.PIPE, env=environment, check=True)
    os.close(terminal)
    shown = os.read(controller, 100_000).decode()
    assert done.stdout == b"a result\n" * 3
    assert "[b]film" in shown and "\u2501" in shown
    # the line is erased at the end
    assert re.search(r"\x1b\[2K$", shown)
