"""One process at a time writes into a run folder."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from threefusion.cli.main import main
from threefusion.config import load_config
from threefusion.errors import UserError
from threefusion.run.folder import LOCK, new_run_folder, writing

HOLDER = """
import sys, time
from pathlib import Path
from threefusion.run.folder import writing
with writing(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(100)
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of one step."""
    out = tmp_path_factory.mktemp("lock") / "run"
    config = Path(__file__).parents[1] / "tiny.yaml"
    words = ["trainer.max_steps=1", "exporter={type: mesh, resolution: 32, texture_size: 64, formats: [obj]}"]
    with pytest.raises(SystemExit, match="0"):
        main(["train", "--config", str(config), "--out", str(out), *words])
    return out


@pytest.fixture
def holder(run: Path) -> Iterator[subprocess.Popen]:
    """Another process that holds the lock."""
    with subprocess.Popen([sys.executable, "-c", HOLDER, run], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def contents(run: Path) -> dict[Path, int]:
    """Every file with the time of its last change."""
    return {path: path.stat().st_mtime_ns for path in run.rglob("*") if path.is_file() and path.name != LOCK}


@pytest.mark.parametrize(
    "command",
    ["train --resume RUN trainer.max_steps=2", "eval RUN", "export RUN", "render RUN --size 8"],
)
def test_no_command_writes_where_another_process_does(
    run: Path, holder: subprocess.Popen, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(run)
    monkeypatch.chdir(Path(__file__).parents[1])
    with pytest.raises(SystemExit, match="2"):
        main([str(run) if word == "RUN" else word for word in command.split()])
    assert f"error: {run}: another process is writing to this run" in capsys.readouterr().err
    assert contents(run) == before


def test_pictures_for_another_folder_are_rendered_meanwhile(run: Path, holder: subprocess.Popen, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["render", str(run), "--views", "1", "--size", "8", "--out", str(tmp_path / "pictures")])
    assert (tmp_path / "pictures" / "000.png").is_file()


def test_a_killed_process_holds_nothing(run: Path, holder: subprocess.Popen) -> None:
    holder.kill()
    holder.wait()
    with writing(run):
        pass


def test_the_other_processes_of_a_run_take_no_lock(run: Path, holder: subprocess.Popen, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THREEFUSION_RUN", str(run))
    with writing(run):
        pass


def test_runs_that_start_at_once_have_their_own_folders(tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config(tiny, [])
    made = Path.mkdir

    def overtaken(path: Path, *arguments: object, **options: object) -> None:
        if path.name == "a-red-ball-1":
            monkeypatch.setattr(Path, "mkdir", made)
            new_run_folder(config, None)
        made(path, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", overtaken)
    assert new_run_folder(config, None).name == "a-red-ball-2"


def test_of_two_runs_that_start_at_once_in_one_folder_one_is_refused(
    tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, out = load_config(tiny, []), tmp_path / "out"
    made = Path.mkdir

    def overtaken(path: Path, *arguments: object, **options: object) -> None:
        monkeypatch.setattr(Path, "mkdir", made)
        new_run_folder(config, out)
        made(path, *arguments, **options)

    monkeypatch.setattr(Path, "mkdir", overtaken)
    with pytest.raises(UserError, match="not empty"):
        new_run_folder(config, out)
