"""A whole system from a config."""

from __future__ import annotations

import torch

from threefusion.config import RunConfig
from threefusion.guidance.build import build_objectives
from threefusion.registry import build
from threefusion.system.before import Before
from threefusion.system.scene import build_scene
from threefusion.system.start import Source
from threefusion.system.text_to_3d import TextTo3D


def build_system(config: RunConfig, previous: Source | None = None, restoring: bool = False) -> TextTo3D:
    """The whole system. Text encoders are loaded, used and freed before the first network of a prior is loaded.

    Initial parameters are a function of `config.seed` alone, and of `previous`, which the scene starts from; they do not
    matter if a checkpoint is loaded afterwards (`restoring`).
    """
    prompt = build(config.prompt)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        objectives = build_objectives(config.guidance, prompt.texts(), prompt.cfg.text)
    scene, renderer = build_scene(config, previous, restoring)
    compared = previous is not None and any(objective.wants.source for objective in objectives.values())
    system = TextTo3D(config, scene, renderer, prompt, objectives)
    system.before = Before(previous, scene) if compared else None
    return system
