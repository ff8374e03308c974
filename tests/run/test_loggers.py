"""What the loggers of a run receive at its end."""

from pathlib import Path

from threefusion.config import load_config
from threefusion.messages import Ended, Logged, Message, Warned, listening, send
from threefusion.run.loggers import trackers


def test_a_report_that_no_run_has_written_is_not_logged(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text('{"mine": 1}')
    (tracker,) = trackers(load_config(tiny, ["logger=tensorboard"]), tmp_path)
    heard: list[Message] = []
    with listening(tracker, heard.append):
        send(Logged(tmp_path, "", 1, {"loss": 1.0}, {}, {}, {}))
        send(Ended(tmp_path, 0))
    assert not any(isinstance(message, Warned) for message in heard)
    assert len(list((tmp_path / "tensorboard").glob("events.*"))) == 1
