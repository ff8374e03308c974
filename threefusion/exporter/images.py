"""Textures as pictures of bytes, and colours at vertices."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

if TYPE_CHECKING:
    import PIL.Image


def as_bytes(color: Float[Tensor, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """[0, 1] -> 0 ... 255."""
    return (color.clamp(0, 1) * 255).round().to(torch.uint8).numpy()


def as_image(texture: Float[Tensor, "H W C"]) -> PIL.Image.Image:
    """A texture as a picture, grey if it has one channel."""
    from PIL import Image

    values = as_bytes(texture)
    return Image.fromarray(values[..., 0] if values.shape[-1] == 1 else values)


def png(texture: Float[Tensor, "H W C"]) -> bytes:
    """A texture as the contents of a PNG file."""
    stream = io.BytesIO()
    as_image(texture).save(stream, "PNG", optimize=False)
    return stream.getvalue()


def green_down(normal: Float[Tensor, "H W 3"]) -> Float[Tensor, "H W 3"]:
    """A normal map in DirectX's convention: green grows downward in the image."""
    return torch.stack([normal[..., 0], 1 - normal[..., 1], normal[..., 2]], -1)
