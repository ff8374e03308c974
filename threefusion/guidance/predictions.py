"""Predictions under several conditions, and the rules that combine them into one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.guidance.guidance import NoisedViews
from threefusion.guidance.prior.conditioning import Conditioning, PromptConditioning
from threefusion.guidance.prior.prior import DiffusionPrior

Predictions = dict[str, Float[Tensor, "B C h w"]]
"""Predicted noise by the name of the condition."""


def predict(prior: DiffusionPrior, views: NoisedViews, conditions: Mapping[str, Conditioning]) -> Predictions:
    """The predicted noise under each condition, from one call of the network on `len(conditions) * B` items.

    Items are laid out condition by condition, each holding the whole batch, so that groups of views stay together. States and
    times are repeated here and nowhere else.
    """
    count = len(conditions)
    z, t = views.z.repeat(count, 1, 1, 1), views.t.repeat(count)
    noise = prior.predict(z, t, Conditioning.cat(list(conditions.values()))).noise
    return dict(zip(conditions, noise.chunk(count), strict=True))


class Combination(ABC):
    """Names the predictions it needs and combines them: `combine` receives those that `conditions` names."""

    @abstractmethod
    def conditions(self, prompt: PromptConditioning) -> dict[str, Conditioning]:
        """Conditions by name; each costs one network evaluation per view."""

    @abstractmethod
    def combine(self, predicted: Predictions) -> Float[Tensor, "B C h w"]:
        """One prediction, or one direction, from the predictions under those names."""


@dataclass(frozen=True)
class ClassifierFreeGuidance(Combination):
    """Classifier-free guidance (arXiv 2207.12598); a negative prompt replaces the empty one.

    >>> rule = ClassifierFreeGuidance(7.5)
    >>> rule.combine({"uncond": torch.ones(1, 1, 1, 1), "text": torch.full((1, 1, 1, 1), 2.0)}).item()
    8.5
    """

    scale: float

    def conditions(self, prompt: PromptConditioning) -> dict[str, Conditioning]:
        """The text alone at scale 1, else also the negative prompt or, without one, the empty prompt."""
        if self.scale == 1:
            return {"text": prompt.text}
        return {"uncond": prompt.negatives[0] if prompt.negatives else prompt.uncond, "text": prompt.text}

    def combine(self, predicted: Predictions) -> Float[Tensor, "B C h w"]:
        """The guided prediction."""
        if self.scale == 1:
            return predicted["text"]
        return cfg_combine(predicted["uncond"], predicted["text"], self.scale)


def cfg_combine(uncond: Float[Tensor, "B *shape"], cond: Float[Tensor, "B *shape"], scale: float) -> Float[Tensor, "B *shape"]:
    """uncond + scale (cond - uncond): unconditional at 0, conditional at 1.

    DreamFusion's ω, and the scale of toolkits that write "cond + s (cond - uncond)", is `scale - 1`.

    >>> cfg_combine(torch.tensor([1.0]), torch.tensor([2.0]), 3.0).item()
    4.0
    """
    return uncond + scale * (cond - uncond)


def rescale_std(guided: Float[Tensor, "B *shape"], cond: Float[Tensor, "B *shape"], amount: float) -> Float[Tensor, "B *shape"]:
    """`guided` with the standard deviation of each item moved towards that of `cond`, by `amount` in [0, 1].

    CFG rescale, arXiv 2305.08891, section 3.4: guidance far above 1 raises the contrast of the prediction, which shows as
    over-saturation.

    >>> rescale_std(torch.tensor([[-4.0, 4.0]]), torch.tensor([[-1.0, 1.0]]), 1.0)
    tensor([[-1.,  1.]])
    """
    axes = tuple(range(1, guided.ndim))
    # A constant item has no contrast to scale: without the clamp it would become NaN.
    ratio = cond.std(axes, keepdim=True) / guided.std(axes, keepdim=True).clamp(min=1e-8)
    return guided * torch.lerp(torch.ones_like(ratio), ratio, amount)
