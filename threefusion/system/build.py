"""A whole system from a config."""

from __future__ import annotations

from threefusion.config import RunConfig
from threefusion.registry import build
from threefusion.system.scene import build_scene
from threefusion.system.text_to_3d import TextTo3D


def build_system(config: RunConfig) -> TextTo3D:
    """The whole system. The text encoder is loaded, used and freed before the network of the prior is loaded."""
    (objective,) = config.guidance.values()
    prior = build(objective.prior)
    prompt = build(config.prompt, prior.text_encoder())
    prior.load()
    return TextTo3D(config, *build_scene(config), prompt, build(objective, prior))
