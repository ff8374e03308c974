"""Detects a front/back flip: a scene that faces away from where the prompt puts its front.

Early in training front and back hardly differ, and a scene that starts the wrong way round stays so, because every gradual turn
passes through worse scenes. The prior can tell: it predicts renders of the front better under the prompt for the front.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import pi

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.guidance.guidance import DiffusionGuidance
from threefusion.types import Cameras, ViewBatch, ViewTexts

LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9)
"""Times at which the losses are compared: below, both prompts predict equally well."""


@torch.no_grad()
def faces_backwards(
    guidance: DiffusionGuidance,
    prompt: Callable[[Cameras], ViewTexts],
    x: Float[Tensor, "B C h w"],
    batch: ViewBatch,
    batch_size: int,
) -> bool:
    """Whether the prior predicts the views, encoded as `x`, better with front and back exchanged in their prompts.

    The losses with both prompts are compared as ratios, time by time, on the same noise, over the views whose prompt
    changes: views from the side and from overhead are not informative. The network gets `batch_size` of them at a time.
    """
    prior = guidance.prior
    flipped = replace(batch.camera, azimuth=(batch.camera.azimuth + 2 * pi) % (2 * pi) - pi)
    noise = batch.randn("facing", *prior.shape)
    readings = [guidance.embed(prompt(camera), batch).text for camera in (batch.camera, flipped)]
    informative = (readings[0].tokens != readings[1].tokens).flatten(1).any(1)
    if not informative.any():
        return False
    x, noise = x[informative], noise[informative]
    readings = [reading[informative] for reading in readings]
    score = x.new_zeros(())
    for level in LEVELS:
        t = torch.full((len(x),), level, device=x.device)
        z = prior.schedule.add_noise(x, noise, t)
        chunks = [slice(first, first + batch_size) for first in range(0, len(x), batch_size)]
        as_prompted, exchanged = (
            torch.cat([prior.predict(z[chunk], t[chunk], reading[chunk]).noise for chunk in chunks]).sub(noise).square().mean()
            for reading in readings
        )
        score += (exchanged / as_prompted).log()
    return bool(score < 0)
