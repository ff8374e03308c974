"""Detects a front/back flip: a scene that faces away from where the prompt puts its front.

Early in training front and back hardly differ, and a scene that starts the wrong way round stays so, because every gradual turn
passes through worse scenes. The prior can tell: it predicts renders of the front better under the prompt for the front.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import pi

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from threefusion.guidance.guidance import DiffusionGuidance
from threefusion.guidance.prior.conditioning import Conditioning
from threefusion.types import Cameras, ViewBatch, ViewTexts

LEVELS = (0.7, 0.9)
"""Times at which the errors are compared: below, both prompts predict equally well; more of them agree with these."""
MARGIN = 1.5
"""Standard errors by which the exchanged prompts have to be better. What looks alike from both sides would else be turned by
chance: the views and the noise decide, and a turn sets the training back."""


@torch.no_grad()
def faces_backwards(
    guidance: DiffusionGuidance,
    prompt: Callable[[Cameras], ViewTexts],
    encode: Callable[[ViewBatch], Float[Tensor, "B C h w"]],
    batch: ViewBatch,
    batch_size: int,
) -> bool:
    """Whether the prior predicts the views better with front and back exchanged in their prompts.

    `encode` renders views into the prior's space. The errors under both prompts are compared as ratios, view by view, on the same
    noise, over the views whose prompt changes: views from the side and from overhead are not informative, and are not rendered.
    `batch_size` of them are rendered at a time, and evaluated under both prompts in one call, as in a training step.
    """
    turned = replace(batch.camera, azimuth=(batch.camera.azimuth + 2 * pi) % (2 * pi) - pi)
    own, exchanged = (guidance.embed(prompt(camera), batch).text for camera in (batch.camera, turned))
    informative = differ(own, exchanged).nonzero()[:, 0]
    if len(informative) < 2:
        return False
    # the last part is filled up: a new size of a batch may have to be compiled
    whole = torch.arange(-(-len(informative) // batch_size) * batch_size, device=informative.device)
    evidence = torch.cat(
        [
            log_ratios(guidance, encode, batch.select(part), Conditioning.cat([own[part], exchanged[part]]))
            for part in informative[whole.clamp_max(len(informative) - 1)].split(batch_size)
        ]
    )[: len(informative)]
    return bool(evidence.mean() < -MARGIN * evidence.std() / len(evidence) ** 0.5)


def differ(first: Conditioning, second: Conditioning) -> Bool[Tensor, "B"]:
    """Which items differ in their tokens."""
    return (first.tokens != second.tokens).flatten(1).any(1)


def log_ratios(
    guidance: DiffusionGuidance, encode: Callable[[ViewBatch], Tensor], views: ViewBatch, both: Conditioning
) -> Float[Tensor, "B"]:
    """Logarithm of the squared error under the exchanged prompts over that under the views' own, summed over the times.

    `both` holds the views' own prompts, then the exchanged ones.
    """
    prior = guidance.prior
    x, noise = encode(views), views.randn("facing", *prior.shape)
    total = x.new_zeros(len(x))
    for level in LEVELS:
        t = torch.full((len(x),), level, device=x.device)
        z = prior.schedule.add_noise(x, noise, t)
        predicted = prior.predict(torch.cat([z, z]), torch.cat([t, t]), both).noise
        own, exchanged = (predicted - torch.cat([noise, noise])).square().flatten(1).mean(1).chunk(2)
        total += (exchanged / own).log()
    return total
