"""What the loggers of a run receive at its end."""

from pathlib import Path

from threefusion.config import load_config
from threefusion.run.loggers import tracked


def test_a_report_that_no_run_has_written_is_not_logged(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "report.json").write_text('{"mine": 1}')
    with tracked(load_config(tiny, ["logger=tensorboard"]), tmp_path) as loggers:
        loggers[0].log_metrics({"loss": 1.0}, 1)
    assert len(list((tmp_path / "tensorboard").glob("events.*"))) == 1
