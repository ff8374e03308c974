"""A whole system from a config."""

from __future__ import annotations

from threefusion.config import RunConfig
from threefusion.guidance.build import build_objectives
from threefusion.registry import build
from threefusion.system.scene import build_scene
from threefusion.system.text_to_3d import TextTo3D


def build_system(config: RunConfig) -> TextTo3D:
    """The whole system. Text encoders are loaded, used and freed before the first network of a prior is loaded."""
    prompt = build(config.prompt)
    return TextTo3D(config, *build_scene(config), prompt, build_objectives(config.guidance, prompt.texts()))
