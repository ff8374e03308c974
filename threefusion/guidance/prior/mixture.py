"""A prior in closed form with several modes: what an objective does between them can be computed."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.guidance.prior.conditioning import Conditioning
from threefusion.guidance.prior.gaussian import GaussianPrior
from threefusion.guidance.prior.prior import TextEncoder
from threefusion.guidance.prior.settings import MixtureConfig

ABSENT = -1e9
"""Log weight of a token that pads a mixture with fewer modes than another."""


class ModeTexts(TextEncoder):
    """The "embedding" of a text is its mixture: a token of colour, standard deviation and log weight for each mode."""

    def __init__(self, cfg: MixtureConfig) -> None:
        self.cfg = cfg

    def encode(self, texts: list[str]) -> Conditioning:
        """The unconditional mixture for the empty text, the conditional one for every other."""
        length = max(len(self.cfg.modes), len(self.cfg.uncond_modes))

        def tokens(modes: tuple[str, ...], std: float) -> Float[Tensor, "L 5"]:
            rows = [[*(int(mode[i : i + 2], 16) / 255 for i in (1, 3, 5)), std, 0.0] for mode in modes]
            return torch.tensor(rows + [[0.5, 0.5, 0.5, std, ABSENT]] * (length - len(modes)))

        with_prompt, without = tokens(self.cfg.modes, self.cfg.std), tokens(self.cfg.uncond_modes, self.cfg.uncond_std)
        return Conditioning(torch.stack([with_prompt if text else without for text in texts]))


class MixturePrior(GaussianPrior):
    """An even mixture of N(μ_k, s² I) over images in [-1, 1], each around one colour, whose noise is predicted exactly.

    The noise is the mean of what each mode would predict, weighted by the probability that the noised image is of that mode.
    """

    cfg: MixtureConfig

    def _predict(self, z: Float[Tensor, "B C h w"], t: Float[Tensor, "B"], condition: Conditioning) -> Float[Tensor, "B C h w"]:
        """sigma Σ_k p(k | z) (z - alpha μ_k) / (alpha² s² + sigma²)."""
        alpha, sigma = (value[:, None] for value in self.schedule.coefficients(t))
        tokens = condition.tokens[..., None, None]
        difference = z[:, None] - alpha * (2 * tokens[:, :, :3] - 1)
        variance = alpha**2 * tokens[:, :, 3:4] ** 2 + sigma**2
        # the determinants differ where two modes do not have the same width
        log_density = -(difference.square() / variance + variance.log()).flatten(2).sum(2) / 2
        share = (log_density + condition.tokens[:, :, 4]).softmax(1)
        return (share.view(*share.shape, 1, 1, 1) * sigma * difference / variance).sum(1)

    def text_encoder(self) -> TextEncoder:
        """Encodes every text but the empty one as the conditional mixture."""
        return ModeTexts(self.cfg)
