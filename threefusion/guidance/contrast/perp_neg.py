"""Guidance away from other views (Perp-Neg, arXiv 2304.04968)."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.errors import UserError
from threefusion.guidance.contrast.contrast import Contrast
from threefusion.guidance.contrast.settings import PerpNegConfig
from threefusion.guidance.noised import NoisedViews
from threefusion.guidance.predictions import Predictions, perpendicular
from threefusion.guidance.prior.conditioning import Conditioning, PromptConditioning

Share = Float[Tensor, "B"]
ViewWeights = Callable[[Share, Share], tuple[Share, Share]]
"""Weights of the front's and of the side's text, from their shares in the text of a view."""


def decay(r: Share, a: float, b: float, c: float) -> Share:
    """a exp(-b r) + c.

    >>> decay(torch.tensor([0.0, 0.5]), 4.0, 0.5, -2.426)
    tensor([1.5740, 0.6892])
    """
    return a * torch.exp(-b * r) + c


def threestudio(front: Share, side: Share) -> tuple[Share, Share]:
    """Weights of threestudio; the front's is 1.57 at the side and rises to 1.97 at the back."""
    before = front > 0
    of_front = torch.where(before, decay(front, 4.0, 0.5, -2.426), decay(side, 1.0, 0.5, 0.967))
    return of_front, torch.where(before, decay(1 - front, 4.0, 0.5, -2.426), decay(side, 1.0, 0.5, -0.606))


def stable_dreamfusion(front: Share, side: Share) -> tuple[Share, Share]:
    """Weights of stable-dreamfusion at its default of 2; they jump to 0 near the view that a text describes."""
    before, zero = front > 0, torch.zeros_like(front)
    of_front = torch.where(before, torch.where(front > 0.8, zero, 2 * torch.exp(-2 * front)), 2.0)
    of_side = torch.where(front < 0.2, zero, 2 * torch.exp(-10 * (1 - front)))
    return of_front, torch.where(before, of_side, torch.where(side > 0.8, zero, torch.exp(-10 * side)))


WEIGHTS: dict[str, ViewWeights] = {"threestudio": threestudio, "stable-dreamfusion": stable_dreamfusion}


class PerpNeg(Contrast):
    """uncond + scale (d - Σ wᵢ dᵢ), with d = text - uncond, and dᵢ the part of (textᵢ - uncond) perpendicular to d.

    The texts to move away from are those of the front and the side view, with weights that depend on the azimuth, and the
    negative prompt. What they share with the view's own text stays, because only perpendicular parts are subtracted. Overhead
    views have no negative views.
    """

    cfg: PerpNegConfig

    def conditions(self, prompt: PromptConditioning, scale: float, step: int) -> dict[str, Conditioning]:
        """The text, the empty prompt, the texts of the front and the side, and the negative prompt if there is one.

        Raises:
            UserError: the prompt does not consist of the texts of front, side, back and overhead.
        """
        if len(prompt.parts) != 4:
            raise UserError(
                f"contrast perp-neg: needs the texts of front, side, back and overhead, not {len(prompt.parts)} texts"
            )
        conditions = {"uncond": prompt.uncond, "text": prompt.text, "front": prompt.parts[0], "side": prompt.parts[1]}
        return conditions | ({"negative": prompt.negatives[0]} if prompt.negatives else {})

    def combine(
        self, predicted: Predictions, views: NoisedViews, prompt: PromptConditioning, scale: float, step: int
    ) -> Float[Tensor, "B C h w"]:
        """The guided prediction."""
        uncond, direction = predicted["uncond"], predicted["text"] - predicted["uncond"]
        combined = direction
        for name, weight in self.view_weights(prompt).items():
            away = perpendicular(predicted[name] - uncond, direction)
            combined = combined - weight.to(away.dtype).view(-1, 1, 1, 1) * away
        return uncond + scale * combined

    def view_weights(self, prompt: PromptConditioning) -> dict[str, Float[Tensor, "B"]]:
        """The weight of every text to move away from, in every view."""
        front, side, _, overhead = prompt.weight.unbind(1)
        of_front, of_side = WEIGHTS[self.cfg.weights](front, side)
        around = self.cfg.strength * (1 - overhead)
        weights = {"front": around * of_front, "side": around * of_side}
        return weights | ({"negative": torch.full_like(front, self.cfg.negative_scale)} if prompt.negatives else {})
