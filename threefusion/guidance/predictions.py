"""Predictions under several conditions, and the rules that combine two of them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

from threefusion.guidance.prior.conditioning import Conditioning
from threefusion.guidance.prior.prior import DiffusionPrior

Predictions = dict[str, Float[Tensor, "B C h w"]]
"""Predicted noise by the name of the condition."""


def predict(
    prior: DiffusionPrior,
    z: Float[Tensor, "B C h w"],
    t: Float[Tensor, "B"],
    conditions: Mapping[str, Conditioning],
    guided: Bool[Tensor, "B"] | None = None,
) -> Predictions:
    """The predicted noise under each condition, from one call of the network on at most `len(conditions) * B` items.

    Views that are not `guided` are evaluated under "text" alone, and this prediction stands for all others: whatever combines
    them then returns it. By default all are guided. Items are laid out condition by condition, so that groups of views stay
    together.
    """
    every = torch.arange(len(z), device=z.device)
    is_padded = guided is not None and prior.fixed_shapes and bool(guided.any())
    some = every if guided is None or is_padded else every[guided]
    rows = {name: every if name == "text" else some for name in conditions}
    index = torch.cat(list(rows.values()))
    noise = prior.predict(z[index], t[index], Conditioning.cat([conditions[name][row] for name, row in rows.items()])).noise
    predicted = dict(zip(rows, noise.split([len(row) for row in rows.values()]), strict=True))
    if guided is None:
        return predicted
    text, mask = predicted["text"], guided.view(-1, 1, 1, 1)
    return {name: torch.where(mask, text.index_copy(0, rows[name], part), text) for name, part in predicted.items()}


def cfg_combine(uncond: Float[Tensor, "B *shape"], cond: Float[Tensor, "B *shape"], scale: float) -> Float[Tensor, "B *shape"]:
    """uncond + scale (cond - uncond): unconditional at 0, conditional at 1.

    DreamFusion's ω, and the scale of toolkits that write "cond + s (cond - uncond)", is `scale - 1`.

    >>> cfg_combine(torch.tensor([1.0]), torch.tensor([2.0]), 3.0).item()
    4.0
    """
    return uncond + scale * (cond - uncond)


def perpendicular(vector: Float[Tensor, "B *shape"], to: Float[Tensor, "B *shape"]) -> Float[Tensor, "B *shape"]:
    """The part of each item of `vector` that is perpendicular to the same item of `to`; all of it where `to` is 0.

    >>> perpendicular(torch.tensor([[3.0, 4.0]]), torch.tensor([[0.0, 2.0]]))
    tensor([[3., 0.]])
    """
    unit = normalize(to.flatten(1), dim=1)
    along = (vector.flatten(1) * unit).sum(1, keepdim=True)
    return vector - (along * unit).view_as(vector)


def rescale_std(
    guided: Float[Tensor, "B *shape"], cond: Float[Tensor, "B *shape"], amount: float, group: int = 1
) -> Float[Tensor, "B *shape"]:
    """`guided` with its standard deviation moved towards that of `cond`, by `amount` in [0, 1].

    CFG rescale, arXiv 2305.08891, section 3.4: guidance far above 1 raises the contrast of the prediction, which shows as
    over-saturation. The deviation is that of `group` neighbouring items together, as MVDream does with its views (arXiv
    2308.16512).

    >>> rescale_std(torch.tensor([[-4.0, 4.0]]), torch.tensor([[-1.0, 1.0]]), 1.0)
    tensor([[-1.,  1.]])
    """
    groups = (len(guided) // group, -1)
    # A constant item has no contrast to scale: without the clamp it would become NaN.
    ratio = cond.reshape(groups).std(1) / guided.reshape(groups).std(1).clamp(min=1e-8)
    ratio = ratio.repeat_interleave(group).view(-1, *(1,) * (guided.ndim - 1))
    return guided * torch.lerp(torch.ones_like(ratio), ratio, amount)
