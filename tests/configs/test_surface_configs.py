"""The shipped configs whose stages end with a surface: a few steps of each stage, stopped in the middle, resumed and exported."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
import torch

from threefusion.cli.main import run as command
from threefusion.config import load_config
from threefusion.exporter.preview import load_glb
from threefusion.run.folder import latest_checkpoint, stage_folders
from threefusion.system.text_to_3d import TextTo3D

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).parents[2] / "configs"
ELSEWHERE = {"castex-tiny", "refine-tiny"}
"""Need a mesh file, and export by patching it: see test_shipped_configs.py and tests/run/test_retexture.py."""
OWN = [path for path in sorted(CONFIGS.glob("*-tiny.yaml")) if path.stem not in ELSEWHERE]
TINY = ["quickstart-quality", *(path.stem for path in OWN if load_config(path, []).stages)]
SMALL = ["output.turntable_frames=0", "output.image_size=8", "output.checkpoint_interval=1", "trainer.log_every_n_steps=1"]
SMALL += ["exporter.resolution=32", "exporter.texture_size=64"]
STEPS = 3


def short(name: str) -> list[str]:
    """Arguments of a training of `STEPS` steps per stage at a small size."""
    stages = load_config(CONFIGS / f"{name}.yaml", []).stages
    sizes = [f"stages.{index}.{key}" for index in range(len(stages)) for key in ("camera.height=12", "camera.width=12")]
    sizes += [
        f"stages.{index}.geometry.resolution=24" for index, stage in enumerate(stages) if hasattr(stage.geometry, "resolution")
    ]
    return [
        "--config",
        str(CONFIGS / f"{name}.yaml"),
        *SMALL,
        *sizes,
        *(f"stages.{index}.steps={STEPS}" for index in range(len(stages))),
    ]


@pytest.mark.parametrize("name", TINY)
def test_all_stages_train_resume_and_end_with_a_closed_mesh(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("THREEFUSION_RUN", raising=False)
    step, last = TextTo3D.training_step, load_config(CONFIGS / f"{name}.yaml", []).stages[-1].name

    def interrupted(self: TextTo3D, batch: object, batch_idx: int) -> torch.Tensor:
        if (self.config.name, self.global_step) == (last, 1):
            signal.raise_signal(signal.SIGINT)
        return step(self, batch, batch_idx)

    assert command(["train", *short(name), "--out", str(tmp_path / "whole")]) == 0
    with monkeypatch.context() as patched:
        patched.setattr(TextTo3D, "training_step", interrupted)
        assert command(["train", *short(name), "--out", str(tmp_path / "parted")]) == 130
    assert command(["train", "--resume", str(tmp_path / "parted")]) == 0
    folders = stage_folders(tmp_path, load_config(tmp_path / "whole" / "config.yaml", []))
    for folder in folders:
        states = [
            torch.load(latest_checkpoint(run / folder.relative_to(tmp_path)), weights_only=True)["state_dict"]
            for run in (tmp_path / "whole", tmp_path / "parted")
        ]
        assert states[0].keys() == states[1].keys() and all(torch.equal(states[0][key], states[1][key]) for key in states[0])
    report = json.loads((tmp_path / "parted" / "report.json").read_text())
    assert [stage["steps"] for stage in report["stages"]] == [STEPS] * len(folders)
    assert report["export"]["watertight"] and len(load_glb(tmp_path / "parted" / "mesh" / "model.glb").faces)
    assert report["artifacts"]["mesh"] == "mesh/model.glb"
