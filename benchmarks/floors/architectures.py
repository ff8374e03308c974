"""Architectures of known models, so that their cost can be measured without their weights.

Settings are those of the models' own `config.json`, as far as they are not diffusers' defaults; a test checks them by the number
of parameters that the models are known to have.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Architecture:
    """Settings of the networks of a pipeline."""

    unet: dict[str, Any]
    token_width: int
    """Width of the text encoder's output."""
    vae: dict[str, Any] | None = None
    """None for a model over pixels."""


_SD_CHANNELS = (320, 640, 1280, 1280)
_SD_VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "latent_channels": 4,
    "layers_per_block": 2,
}


def _stable_diffusion_2(size: int) -> Architecture:
    unet = {
        "sample_size": size,
        "block_out_channels": _SD_CHANNELS,
        "cross_attention_dim": 1024,
        "attention_head_dim": (5, 10, 20, 20),
        "use_linear_projection": True,
    }
    return Architecture(unet, 1024, _SD_VAE)


ARCHITECTURES: dict[str, Architecture] = {
    "stable-diffusion-1-5": Architecture(
        {"sample_size": 64, "block_out_channels": _SD_CHANNELS, "cross_attention_dim": 768, "attention_head_dim": 8}, 768, _SD_VAE
    ),
    "stable-diffusion-2-1-base": _stable_diffusion_2(64),
    "stable-diffusion-2-1": _stable_diffusion_2(96),
    "deepfloyd-if-xl": Architecture(
        {
            "sample_size": 64,
            "in_channels": 3,
            "out_channels": 6,
            "layers_per_block": 3,
            "block_out_channels": (704, 1408, 2112, 2816),
            "down_block_types": ("ResnetDownsampleBlock2D", *("SimpleCrossAttnDownBlock2D",) * 3),
            "mid_block_type": "UNetMidBlock2DSimpleCrossAttn",
            "up_block_types": (*("SimpleCrossAttnUpBlock2D",) * 3, "ResnetUpsampleBlock2D"),
            "cross_attention_dim": 2816,
            "encoder_hid_dim": 4096,
            "attention_head_dim": 64,
            "addition_embed_type": "text",
            "addition_embed_type_num_heads": 64,
            "cross_attention_norm": "group_norm",
            "resnet_time_scale_shift": "scale_shift",
            "act_fn": "gelu",
        },
        4096,
    ),
}
"""By alias; every other model is known by its own files alone."""
