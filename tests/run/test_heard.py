"""What those who listen to a run hear of it, and that it does not depend on them."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from states import is_same

from threefusion.config import load_config
from threefusion.messages import (
    Ended,
    Exported,
    Logged,
    Message,
    PageWritten,
    Preview,
    Saved,
    Started,
    Step,
    StepsEnded,
    Trained,
    Warned,
    listening,
)
from threefusion.run.folder import new_run_folder
from threefusion.run.training import train


def test_a_run_says_what_it_does_and_ends_the_same_whoever_listens(tiny: Path, tmp_path: Path) -> None:
    config = load_config(tiny, ["trainer.max_steps=4", "output.checkpoint_interval=2", "output.image_interval=2"])
    quiet, run = (new_run_folder(config, tmp_path / name) for name in ("quiet", "heard"))
    assert train(config, quiet) == 0
    heard: list[Message] = []

    def fails_at_step_2(message: Message) -> None:
        if isinstance(message, Step) and message.step == 2:
            raise RuntimeError("no more")

    with listening(fails_at_step_2, heard.append):
        assert train(config, run) == 0
    assert is_same(quiet, run)
    assert [message.text for message in heard if isinstance(message, Warned)] == [
        f"{fails_at_step_2.__qualname__} has failed and is not called again: RuntimeError: no more"
    ]
    expected = {Started: 1, Step: 4, Logged: 4, Preview: 2, Saved: 2, StepsEnded: 1, Trained: 1, Exported: 1, PageWritten: 1}
    kinds = [type(message) for message in heard]
    assert {kind: kinds.count(kind) for kind in expected} == expected
    firsts = [kind for kind in dict.fromkeys(kinds) if kind in (Started, Step, StepsEnded, Trained, PageWritten, Ended)]
    assert firsts == [Started, Step, StepsEnded, Trained, PageWritten, Ended]
    assert heard[-1] == Ended(run, 0)
    assert [(message.step, message.max_steps) for message in heard if isinstance(message, Step)] == [(n, 4) for n in (1, 2, 3, 4)]
    rows = [message for message in heard if isinstance(message, Logged)]
    with (run / "metrics.csv").open() as file:
        for row, message in zip(csv.DictReader(file), rows, strict=True):
            assert int(row["step"]) == message.step
            assert {name: float(row[name]) for name in row if name != "step"} == pytest.approx(dict(message.metrics), rel=1e-5)
            assert message.weights == {"guidance": 1, "orientation": 0.1, "sparsity": 0.01}
            assert message.learning_rates == {"lr": 0.01} and message.milliseconds.keys() >= {"render", "other"}
    assert all(message.path.is_file() for message in heard if isinstance(message, Preview | Saved))
