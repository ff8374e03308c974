"""sRGB encoding and linear light."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

_KNEE = 0.8


def decode_srgb(encoded: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
    """Linear values of sRGB-encoded ones (IEC 61966-2-1).

    >>> [round(value, 4) for value in decode_srgb(torch.tensor([0.0, 0.04, 0.5, 1.0])).tolist()]
    [0.0, 0.0031, 0.214, 1.0]
    """
    power = ((encoded.clamp_min(0.04) + 0.055) / 1.055) ** 2.4
    return torch.where(encoded <= 0.04045, encoded / 12.92, power)


def encode_srgb(linear: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
    """sRGB-encoded values of linear ones that are at least 0; the derivative is finite everywhere.

    >>> [round(value, 4) for value in encode_srgb(torch.tensor([0.0, 0.0031, 0.214, 1.0])).tolist()]
    [0.0, 0.0401, 0.5, 1.0]
    """
    power = 1.055 * linear.clamp_min(0.003) ** (1 / 2.4) - 0.055
    return torch.where(linear <= 0.0031308, 12.92 * linear, power)


def shoulder(linear: Float[Tensor, "*S"]) -> Float[Tensor, "*S"]:
    """Values of at least 0 compressed into [0, 1): unchanged up to 0.8, above smoothly towards 1.

    Unlike a clamp it keeps a gradient where an image is overexposed.

    >>> [round(value, 3) for value in shoulder(torch.tensor([0.5, 0.8, 1.0, 2.0])).tolist()]
    [0.5, 0.8, 0.926, 1.0]
    """
    over = (linear - _KNEE).clamp_min(0) / (1 - _KNEE)
    return torch.where(linear <= _KNEE, linear, _KNEE - (1 - _KNEE) * torch.expm1(-over))
