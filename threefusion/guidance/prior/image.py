"""Images between the two layouts: colours `[B H W 3]` in [0, 1] outside a prior, `[B 3 h w]` in [-1, 1] inside."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def resize(rgb: Float[Tensor, "B H W C"], size: int) -> Float[Tensor, "B size size C"]:
    """The images at `size` by `size` pixels, antialiased bilinear; the very same tensor if they have that size already.

    >>> import torch
    >>> resize(torch.rand(2, 8, 8, 3), 4).shape
    torch.Size([2, 4, 4, 3])
    """
    if rgb.shape[1:3] == (size, size):
        return rgb
    smaller = functional.interpolate(rgb.permute(0, 3, 1, 2), (size, size), mode="bilinear", antialias=True)
    return smaller.permute(0, 2, 3, 1)


def channels_first(rgb: Float[Tensor, "B H W 3"]) -> Float[Tensor, "B 3 H W"]:
    """Colours in [0, 1] as networks take them: channels first, in [-1, 1].

    >>> import torch
    >>> channels_first(torch.tensor([[[[0.0, 0.5, 1.0]]]])).flatten().tolist()
    [-1.0, 0.0, 1.0]
    """
    return rgb.permute(0, 3, 1, 2) * 2 - 1


def channels_last(x: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B H W 3"]:
    """The inverse of `channels_first`, clamped to [0, 1].

    >>> import torch
    >>> channels_last(torch.tensor([-1.0, 0.0, 3.0]).view(1, 3, 1, 1)).flatten().tolist()
    [0.0, 0.5, 1.0]
    """
    return ((x + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1)
