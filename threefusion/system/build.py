"""A whole system, and Lightning's settings for it, from a config."""

from __future__ import annotations

from typing import Any

from threefusion.config import RunConfig
from threefusion.registry import build, settings
from threefusion.system.scene import build_scene
from threefusion.system.text_to_3d import TextTo3D


def build_system(config: RunConfig) -> TextTo3D:
    """The whole system. The text encoder is loaded, used and freed before the network of the prior is loaded."""
    prior = build(settings(config.guidance).prior)
    prompt = build(config.prompt, prior.text_encoder())
    prior.load()
    return TextTo3D(config, *build_scene(config), prompt, build(config.guidance, prior))


def trainer_settings(config: RunConfig) -> dict[str, Any]:
    """`trainer.*` with this project's defaults."""
    settings = {"accelerator": "auto", "devices": 1, "max_steps": 10000, "log_every_n_steps": 10, **config.trainer}
    if settings["devices"] not in (1, "1", [0]) or settings.get("num_nodes", 1) > 1:
        # A rank may leave a parameter unused (albedo against lit, rays that all miss): plain DDP would wait for it for ever.
        settings.setdefault("strategy", "ddp_find_unused_parameters_true")
    return settings
