"""Predictions under several conditions -> one prediction: pure functions."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def cfg_combine(uncond: Float[Tensor, "B *shape"], cond: Float[Tensor, "B *shape"], scale: float) -> Float[Tensor, "B *shape"]:
    """The guided prediction of classifier-free guidance (arXiv 2207.12598): 0 is unconditional, 1 conditional, linear in `scale`.

    DreamFusion's ω, and the number of toolkits that write "conditional + s (conditional - unconditional)", is `scale - 1`.
    """
    return uncond + scale * (cond - uncond)


def rescale_std(guided: Float[Tensor, "B *shape"], cond: Float[Tensor, "B *shape"], amount: float) -> Float[Tensor, "B *shape"]:
    """`guided`, mixed by `amount` in [0, 1] with itself at the standard deviation that `cond` has, item by item.

    CFG rescale, arXiv 2305.08891, section 3.4: guidance far above 1 inflates the prediction's contrast, which shows as
    over-saturation.
    """
    axes = tuple(range(1, guided.ndim))
    ratio = cond.std(axes, keepdim=True) / guided.std(axes, keepdim=True).clamp(min=1e-8)
    return guided * torch.lerp(torch.ones_like(ratio), ratio, amount)
