"""A run never overwrites another, and its folder is enough to go on."""

from __future__ import annotations

from pathlib import Path

import pytest

from threefusion.config import load_config
from threefusion.errors import UserError
from threefusion.run.folder import latest_checkpoint, new_run_folder, open_run

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
    with pytest.raises(UserError, match="--resume"):
        new_run_folder(load_config(QUICKSTART, []), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["precious"]


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
