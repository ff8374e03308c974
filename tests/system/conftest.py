"""A run small enough for tests: the closed-form prior paints a ball in its mean colour."""

from __future__ import annotations

from pathlib import Path

import pytest

TINY = """
seed: 3
prompt: {type: interpolated, text: a red ball}
camera: {type: orbital, batch_size: 4, height: 12, width: 12, albedo_steps: 4}
geometry:
  type: density-field
  radius: 0.8
  encoding: {type: dense-grid}
material: {type: diffuse}
background: {type: solid}
renderer: {type: volume, sampler: {type: occupancy, samples_per_ray: 16}}
guidance:
  type: sds
  guidance_scale: 1
  prior: {type: gaussian, image_size: 12}
loss:
  orientation: {weight: 0.1}
  sparsity: {weight: 0.01}
optimizer: {type: adam, lr: 0.01}
trainer: {max_steps: 12, accelerator: cpu, log_every_n_steps: 1}
output: {checkpoint_interval: 5, image_interval: 6, image_size: 16, turntable_frames: 4, turntable_size: 16}
exporter: null
"""


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """The path of the tiny config."""
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return path
