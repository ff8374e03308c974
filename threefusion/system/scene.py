"""A scene from its config, and back from a checkpoint. Lightning is not needed to look at a result."""

from __future__ import annotations

import torch
from torch import Tensor

from threefusion.config import RunConfig
from threefusion.registry import build
from threefusion.types import Scene


def build_scene(config: RunConfig) -> Scene:
    """The untrained scene of a config, its initial parameters a function of `config.seed` alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        material = build(config.material)
        geometry = build(config.geometry, material.feature_width)
        background = build(config.background)
        renderer = build(config.renderer, geometry, material, background)
    return Scene(geometry, material, background, renderer)


def restore_scene(scene: Scene, state: dict[str, Tensor]) -> None:
    """Load a checkpoint's parameters into a scene that was built from the same config; the renderer holds all of its parts."""
    scene.renderer.load_state_dict({k.removeprefix("renderer."): v for k, v in state.items() if k.startswith("renderer.")})
