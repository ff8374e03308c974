"""Run folders as trainings leave them, without a training."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trimesh
from PIL import Image

from threefusion.config import config_to_yaml, load_config
from threefusion.machine.video import write_video

HOSTILE = "a \"red\" <b>ball</b> & </script><script>alert('x')</script> ${seed} 'q'"
STEPS = (6, 12, 18)


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A textured mesh, two frames of video, and previews that differ."""
    folder = tmp_path_factory.mktemp("media")
    box = trimesh.creation.box((0.6, 1.0, 0.4))
    uv = np.random.default_rng(0).random((len(box.vertices), 2))
    material = trimesh.visual.material.PBRMaterial(
        baseColorTexture=Image.new("RGB", (8, 8), (200, 30, 20)), metallicFactor=0.0, roughnessFactor=1.0
    )
    box.visual = trimesh.visual.TextureVisuals(uv, material=material)
    box.export(folder / "model.glb")
    write_video(folder / "turntable.mp4", (np.full((16, 16, 3), 255 * frame, np.uint8) for frame in range(2)))
    for step in STEPS:
        Image.new("RGB", (64, 32), (10 * step, 90, 200)).save(folder / f"{step:06d}.png")
    return folder


@pytest.fixture
def make_run(tiny: Path, media: Path) -> Callable[..., Path]:
    """Make a finished run in a folder, with overrides of its config."""

    def make(run: Path, *overrides: str, prompt: str = HOSTILE, iou: float = 0.5) -> Path:
        for name in ("images", "mesh", "checkpoints"):
            (run / name).mkdir(parents=True)
        (run / "config.yaml").write_text(config_to_yaml(load_config(tiny, [*overrides, f"prompt.text={prompt}"])))
        (run / "metrics.csv").write_text(
            "step,loss,sparsity,skipped\n" + "".join(f"{i},{3 - i / 9},{i / 20},0\n" for i in range(18))
        )
        argv = ["launch.py", "train", "--config", str(tiny), "--prompt", prompt]
        write(run / "environment.json", {"argv": argv, "versions": {"python": "3.11", "torch": "2.13.0"}})
        for step in STEPS:
            (run / "images" / f"{step:06d}.png").write_bytes((media / f"{step:06d}.png").read_bytes())
        (run / "mesh/model.glb").write_bytes((media / "model.glb").read_bytes())
        (run / "turntable.mp4").write_bytes((media / "turntable.mp4").read_bytes())
        write(run / "report.json", report(iou))
        return run

    return make


def report(iou: float) -> dict[str, Any]:
    """What a training reports."""
    return {
        "steps": 18,
        "seconds": 100 * iou,
        "iterations_per_second": 9.0,
        "phase_seconds": {"render": 0.5, "guidance": 1.0, "backward": 0.4, "other": 0.1},
        "phase_milliseconds_per_step": {"render": 27.8, "guidance": 55.6, "backward": 22.2, "other": 5.6},
        "peak_memory_bytes": 760_438_784,
        "network_calls": 18,
        "network_images": 144,
        "metrics": {
            "silhouette_iou": iou,
            "best_class": "ball",
            "geometric_retrieval": True,
            "skill": None,
            "albedo_error": 1 - iou,
        },
        "export": {"silhouette_iou": 0.97, "faces": 12, "watertight": True},
        "artifacts": {"mesh": "mesh/model.glb", "video": "turntable.mp4", "checkpoint": None},
    }


def write(path: Path, content: dict[str, Any]) -> None:
    """Write JSON."""
    path.write_text(json.dumps(content))
