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
from threefusion.errors import UserError
from threefusion.machine.progress import counted, doing, progress
from threefusion.messages import (
    Ended,
    Exported,
    Failed,
    Logged,
    Noted,
    PageWritten,
    ScenesEnded,
    ScenesStarted,
    StageEnded,
    StagesLeft,
    Started,
    Step,
    StepsEnded,
    Stopped,
    Stopping,
    Trained,
    Warned,
    listening,
)

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


RUN = Path("runs/a")
COST = {"steps": 4, "seconds": 2.0, "iterations_per_second": 2.0, "phase_milliseconds_per_step": {"render": 1.0, "other": 2.0}}
SPEED = "4 steps in 2.0 s, 2 iterations/s; a step: other 2 + render 1 ms"
LINES = [
    (Noted("a sentence"), "", "a sentence"),
    (Warned("another"), "", "warning: another"),
    (StageEnded(RUN, "coarse", COST), f"coarse: {SPEED}", ""),
    (Trained(RUN, COST), SPEED, ""),
    (Exported(RUN, "mesh", (RUN / "mesh/model.glb", RUN / "mesh/model.obj")), "mesh: runs/a/mesh/model.glb", ""),
    (PageWritten(RUN / "index.html"), "", "page: runs/a/index.html"),
    (Stopping(), "", "\nstopping after this step and saving; press Ctrl-C again to stop at once"),
    (Stopped(RUN, "", 3, "train --resume"), "", "stopped at step 3. Resume with: train --resume"),
    (Stopped(RUN, "fine", 3, "train --resume"), "", "stopped at step 3 of stage fine. Resume with: train --resume"),
    (Stopped(RUN, "", None, "train --resume"), "", "interrupted. Resume with: train --resume"),
    (StagesLeft(RUN, "coarse", "train --resume"), "stage coarse is finished. Go on with: train --resume", ""),
    (Failed(UserError("no prompt")), "", "error: no prompt"),
    (Failed(KeyError("x")), "", "KeyError: 'x'\n"),
    (Ended(RUN, 0), "", ""),
]


@pytest.mark.parametrize(("message", "out", "err"), LINES, ids=lambda value: type(value).__name__)
def test_results_go_to_stdout_and_everything_else_to_stderr(message, out, err, capsys):
    Terminal()(message)
    assert capsys.readouterr() == (out + "\n" * bool(out), err + "\n" * bool(err))


def test_a_log_of_a_training_has_speed_time_left_phases_and_loss(clock, capsys):
    terminal = Terminal()
    terminal(Started(RUN, "fine", 4, 100, 10, "from stage coarse"))
    for step, rate in ((5, None), (6, 2.0), (7, 2.0), (8, 2.0)):
        clock[0] += 6
        terminal(Step(RUN, "fine", step, 100, rate, {"render": 1.0, "other": 499.0}))
        terminal(Logged(RUN, "fine", step - 1, {"loss": 0.25}, {}, {}, {}))
    terminal(StepsEnded(RUN, "fine"))
    assert capsys.readouterr().err.splitlines() == [
        "fine starts from stage coarse",
        "step 4/100  (the loss is no measure of quality: look at images/)",
        "step 6/100  2.0 it/s  0:00:47 left  other 499 + render 1 ms  loss 0.25",
        "step 8/100  2.0 it/s  0:00:46 left  other 499 + render 1 ms  loss 0.25",
    ]


def test_scenes_share_a_line(clock, capsys):
    terminal = Terminal()
    terminal(ScenesStarted(2, None))
    for step, run in ((1, "a"), (1, "b"), (2, "a"), (2, "b")):
        clock[0] += 6
        terminal(Step(Path(run), "", step, 10, 1.0, {}))
    terminal(StepsEnded(Path("a"), ""))
    clock[0] += 6
    terminal(Step(Path("b"), "", 3, 10, 1.0, {}))
    terminal(ScenesEnded())
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(" scenes")[0] for line in lines] == ["step 1/10  1 of 2", "step 1/10  2 of 2", "step 3/10  1 of 2"]
