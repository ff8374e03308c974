"""Random pipelines of a few megabytes whose networks are conditioned on more than a text."""

from __future__ import annotations

from pathlib import Path

import torch
from tiny import save_tiny_if


def save_tiny_if_ii(folder: Path, channels: int = 6) -> Path:
    """A pipeline shaped as stage II of DeepFloyd IF, from 4 to 16 pixels."""
    from diffusers import DDPMScheduler, IFPipeline, IFSuperResolutionPipeline, UNet2DConditionModel

    first = IFPipeline.from_pretrained(save_tiny_if(folder), local_files_only=True)
    torch.manual_seed(0)
    settings = {name: value for name, value in first.unet.config.items() if not name.startswith("_")}
    settings |= {"in_channels": 6, "out_channels": channels, "class_embed_type": "timestep"}
    IFSuperResolutionPipeline(
        tokenizer=first.tokenizer, text_encoder=first.text_encoder, scheduler=first.scheduler,
        unet=UNet2DConditionModel(**settings), image_noising_scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        safety_checker=None, feature_extractor=None, watermarker=None, requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip
    return folder
