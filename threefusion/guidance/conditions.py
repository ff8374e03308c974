"""One batched network call for several conditions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.errors import UserError
from threefusion.guidance.combine import cfg_combine
from threefusion.guidance.guidance import NoisedViews
from threefusion.guidance.prior.prior import DiffusionPrior
from threefusion.types import PromptEmbeddings

Condition = Literal["uncond", "text", "negative"]


@dataclass(frozen=True)
class Predictions:
    """Predicted noise under each condition that was asked for, at the same noised views."""

    uncond: Float[Tensor, "B C h w"] | None = None
    text: Float[Tensor, "B C h w"] | None = None
    negative: Float[Tensor, "B C h w"] | None = None
    """Under the first negative prompt."""


def predict(
    prior: DiffusionPrior, views: NoisedViews, embedding: PromptEmbeddings, conditions: Sequence[Condition]
) -> Predictions:
    """The predicted noise under each condition, from one call of the network on `len(conditions) * B` items.

    Items are laid out condition by condition, each holding the whole batch: latents, timesteps and tokens are tiled here and
    nowhere else.

    Raises:
        UserError: a negative prompt is needed and there is none.
    """
    if "negative" in conditions and embedding.negative is None:
        raise UserError("prompt.negative: must be given, because the chosen guidance needs a negative prompt")
    negative = None if embedding.negative is None else embedding.negative[:, 0]
    known = {"uncond": embedding.uncond, "text": embedding.text, "negative": negative}
    tokens = torch.cat([known[name] for name in conditions])
    count = len(conditions)
    noise = prior.predict_noise(views.z.repeat(count, 1, 1, 1), views.timesteps.repeat(count), tokens)
    return Predictions(**dict(zip(conditions, noise.chunk(count), strict=True)))


def guided_conditions(embedding: PromptEmbeddings, scale: float) -> tuple[Condition, ...]:
    """What guidance at `scale` asks for: the text alone at 1, else also the negative prompt or, without one, the empty prompt."""
    if scale == 1:
        return ("text",)
    return ("uncond" if embedding.negative is None else "negative", "text")


def guided_noise(predicted: Predictions, scale: float) -> Float[Tensor, "B C h w"]:
    """The predictions of `guided_conditions` under classifier-free guidance."""
    contrast = predicted.uncond if predicted.negative is None else predicted.negative
    return predicted.text if contrast is None else cfg_combine(contrast, predicted.text, scale)
