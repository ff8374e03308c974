"""A run never overwrites another, and its folder is enough to go on."""

from __future__ import annotations

from pathlib import Path

import pytest

from threefusion.config import load_config
from threefusion.errors import UserError
from threefusion.run import folder
from threefusion.run.folder import latest_checkpoint, new_run, new_run_folder, open_run, read_report, reopen

QUICKSTART = Path(__file__).parents[2] / "configs" / "quickstart.yaml"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("THREEFUSION_RUN", raising=False)


def test_runs_are_numbered_and_hold_their_config() -> None:
    config = load_config(QUICKSTART, ["prompt.text=a Red mushroom, 3/4: view!"])
    first, second = new_run_folder(config, None), new_run_folder(config, None)
    assert [str(first), str(second)] == [f"runs/quickstart/a-red-mushroom-3-4-view-{n}" for n in (1, 2)]
    assert open_run(first) == config
    assert latest_checkpoint(first) is None


def test_a_folder_that_is_in_use_is_refused_and_kept(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "precious").write_text("data")
    with pytest.raises(UserError, match=r"not empty\. Name another folder"):
        new_run_folder(load_config(QUICKSTART, []), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["precious"]


def begun(out: Path) -> dict[str, bytes]:
    """The files of a run that was killed before its first checkpoint."""
    new_run_folder(load_config(QUICKSTART, []), out)
    (out / "metrics.csv").write_text("step,loss\n9,0.5\n")
    (out / "images" / "000000.png").touch()
    (out / "index.html").touch()
    (out / ".report.99999999999.tmp.json").touch()
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_a_folder_without_a_checkpoint_can_be_named_again(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    assert len(begun(out)) == 7
    config = load_config(QUICKSTART, ["seed=7"])
    assert open_run(new_run_folder(config, out)) == config
    assert sorted(path.name for path in out.rglob("*") if path.is_file()) == [".lock", "config.yaml", "environment.json"]


@pytest.mark.parametrize(
    "name", ["checkpoints/step-000200.ckpt", "notes.txt", "mesh/model.glb", "images/mine.png", "report.json"]
)
def test_a_folder_with_results_or_files_of_others_is_not(tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    files = begun(out) | {name: b"precious"}
    (out / name).write_text("precious")
    with pytest.raises(UserError, match="--resume"):
        new_run_folder(load_config(QUICKSTART, []), out)
    assert {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()} == files


def test_a_folder_that_was_only_locked_can_be_named_again(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    (tmp_path / ".environment.99999999999.tmp.json").touch()
    new_run_folder(load_config(QUICKSTART, []), tmp_path)
    assert not list(tmp_path.glob("*.tmp.*")) and open_run(tmp_path)


def test_a_config_of_the_users_own_makes_no_run(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("extends: quickstart.yaml\n")
    with pytest.raises(UserError, match="not empty"):
        new_run_folder(load_config(QUICKSTART, []), tmp_path)
    assert (tmp_path / "config.yaml").exists()


@pytest.mark.parametrize("error", [UserError("no such model"), RuntimeError(), KeyboardInterrupt()])
@pytest.mark.parametrize("out", [None, "out", "new/parent/out", "there/out", "there"])
def test_a_run_that_fails_at_once_leaves_no_trace(tmp_path: Path, out: str | None, error: BaseException) -> None:
    (tmp_path / "there").mkdir()
    with pytest.raises(type(error)), new_run(load_config(QUICKSTART, []), out and Path(out)) as run:
        assert (run / "config.yaml").exists()
        raise error
    assert [path.name for path in tmp_path.rglob("*")] == ["there"]


@pytest.mark.parametrize("out", [None, "new/out"])
def test_a_full_disk_leaves_no_trace_either(tmp_path: Path, monkeypatch, out: str | None) -> None:
    def full(*_):
        raise UserError("config.yaml: cannot be written (No space left on device)")

    monkeypatch.setattr(folder, "write_config", full)
    with pytest.raises(UserError), new_run(load_config(QUICKSTART, []), out and Path(out)):
        pass
    assert not list(tmp_path.iterdir())


def test_a_run_that_fails_later_keeps_what_there_is_to_see(tmp_path: Path) -> None:
    with pytest.raises(UserError), new_run(load_config(QUICKSTART, []), None) as run:
        (run / "images" / "000000.png").touch()
        raise UserError("diverged")
    assert (run / "images" / "000000.png").exists() and (run / "config.yaml").exists()


def test_a_failed_run_leaves_its_neighbour_alone(tmp_path: Path) -> None:
    config = load_config(QUICKSTART, [])
    with pytest.raises(UserError), new_run(config, None) as first:
        second = new_run_folder(config, None)
        raise UserError("no such model")
    assert not first.exists() and (second / "config.yaml").exists()


@pytest.mark.usefixtures("terminal")
def test_foreign_checkpoints_are_named_and_half_written_files_removed(tmp_path: Path, capsys) -> None:
    begun(tmp_path / "out")
    for name in ("step-000200.ckpt", "best.ckpt"):
        (tmp_path / "out" / "checkpoints" / name).touch()
    assert latest_checkpoint(reopen(tmp_path / "out")).name == "step-000200.ckpt"
    assert capsys.readouterr().err == f"{tmp_path}/out/checkpoints/best.ckpt: ignored, it is no checkpoint of this run\n"
    assert not (tmp_path / "out" / ".report.99999999999.tmp.json").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "\0", None])
def test_a_damaged_report_is_no_report(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "report.json"
    path.mkdir() if content is None else path.write_text(content)
    assert read_report(tmp_path) is None


def test_what_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not a run folder \(it has no config\.yaml\)"):
        open_run(tmp_path)


def test_processes_of_one_run_share_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THREEFUSION_RUN", str(tmp_path / "chosen"))
    assert new_run_folder(load_config(QUICKSTART, []), None) == tmp_path / "chosen"


def test_the_newest_checkpoint_is_the_one_with_the_highest_step(tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    for name in ("step-999800.ckpt", "step-1000000.ckpt", "step-000200.ckpt", "step-2000000.tmp", "step-last.ckpt"):
        (tmp_path / "checkpoints" / name).touch()
    assert latest_checkpoint(tmp_path).name == "step-1000000.ckpt"


def test_the_newest_checkpoint_is_that_of_the_last_stage_whatever_else_lies_beside_them(tmp_path: Path) -> None:
    for name in ("9-a/checkpoints/step-000300.ckpt", "10-b/checkpoints/step-000100.ckpt", ".DS_Store", "notes/step-000999.ckpt"):
        path = tmp_path / "stages" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    assert latest_checkpoint(tmp_path).parts[-3:] == ("10-b", "checkpoints", "step-000100.ckpt")
