"""What the loggers of a run receive at its end."""

from pathlib import Path

from pytorch_lightning.loggers import CSVLogger

from threefusion.config import load_config
from threefusion.messages import Ended, Logged, Message, Started, Warned, listening, send
from threefusion.run.loggers import Tracker, trackers


def test_a_report_that_no_run_has_written_is_not_logged(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text('{"mine": 1}')
    (tracker,) = trackers(load_config(tiny, ["logger=tensorboard"]), tmp_path)
    heard: list[Message] = []
    with listening(tracker, heard.append):
        send(Logged(tmp_path, "", 1, {"loss": 1.0}, {}, {}, {}))
        send(Ended(tmp_path, 0))
    assert not any(isinstance(message, Warned) for message in heard)
    assert len(list((tmp_path / "tensorboard").glob("events.*"))) == 1


def test_a_logger_that_fails_is_named_and_the_run_goes_on(tmp_path: Path, heard: list[Message]) -> None:
    class FullDisk(CSVLogger):
        def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
            raise OSError(28, "No space left on device")

    with listening(Tracker(FullDisk(tmp_path), tmp_path)):
        for step in range(2):
            send(Logged(tmp_path, "", step, {"loss": 1.0}, {}, {}, {}))
    (warning,) = (message.text for message in heard if isinstance(message, Warned))
    assert warning.endswith("FullDisk has failed and is not called again: OSError: [Errno 28] No space left on device")


def test_steps_count_on_over_the_stages_and_a_row_has_rates_and_times(tmp_path: Path) -> None:
    rows: list[tuple[dict[str, float], int]] = []

    class Recorder(CSVLogger):
        def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
            rows.append((metrics, step))

    with listening(Tracker(Recorder(tmp_path), tmp_path)):
        send(Started(tmp_path, "fine", 0, 8, 4, ""))
        send(Logged(tmp_path, "fine", 2, {"loss": 1.0}, {"guidance": 1.0}, {"lr": 0.5}, {"render": 2.0}))
    assert rows == [({"loss": 1.0, "lr": 0.5, "milliseconds/render": 2.0}, 6)]
