"""What a network costs, counted by its shape: on the meta device nothing is computed and nothing takes memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from threefusion.guidance.prior.model_settings import CLASSES
from threefusion.guidance.prior.pretrained import network_class


def meta_network(part: str, settings: Mapping[str, Any]) -> nn.Module:
    """The `unet` or `vae` that a model's settings describe, without numbers in it."""
    with torch.device("meta"):
        return network_class(CLASSES[part][0]).from_config(dict(settings)).eval().requires_grad_(False)


def unet_flops(settings: Mapping[str, Any], items: int, tokens: tuple[int, int]) -> int:
    """Flops of one call of a U-Net on `items` images, each with `tokens` (length, width)."""
    unet = meta_network("unet", settings)
    size = unet.config.sample_size
    with torch.device("meta"), FlopCounterMode(display=False) as counter, torch.no_grad():
        unet(torch.empty(items, unet.config.in_channels, size, size), torch.empty(items), torch.empty(items, *tokens))
    return counter.get_total_flops()


def encoder_flops(settings: Mapping[str, Any], items: int, size: int) -> int:
    """Flops of encoding `items` images of `size` pixels a side, forward and backward to the images."""
    vae = meta_network("vae", settings)
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        image = torch.empty(items, 3, size, size, requires_grad=True)
        vae.encode(image).latent_dist.mean.sum().backward()
    return counter.get_total_flops()
