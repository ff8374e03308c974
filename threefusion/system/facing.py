"""Whether the scene faces the way the words say.

Early on little tells front from back, and a scene that begins the wrong way round stays so: turning it would pass through worse
scenes. The prior knows, though: from the sides that it would call front, it predicts renders better under the words for front.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import pi

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.guidance.noise import add_noise
from threefusion.guidance.prior.prior import DiffusionPrior
from threefusion.types import Cameras, PromptEmbeddings, ViewBatch

LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9)
"""Timesteps at which the prior is asked, as parts of the schedule: below, both readings are predicted equally well."""


@torch.no_grad()
def faces_backwards(
    prior: DiffusionPrior,
    prompt: Callable[[Cameras], PromptEmbeddings],
    x: Float[Tensor, "B C h w"],
    batch: ViewBatch,
    at_once: int,
) -> bool:
    """Whether the prior predicts the views, encoded as `x`, better if front and back change places in their words.

    The errors under both readings are compared as ratios, level by level, on the same noise, over the views whose words
    change: of sides and from overhead both readings are one. The prior is asked about `at_once` of them at a time.
    """
    opposite = replace(batch.camera, azimuth=(batch.camera.azimuth + 2 * pi) % (2 * pi) - pi)
    noise = batch.randn("facing", *prior.shape)
    readings = torch.stack([prompt(camera).text for camera in (batch.camera, opposite)])
    telling = (readings[0] != readings[1]).flatten(1).any(1)
    if not telling.any():
        return False
    x, noise, readings = x[telling], noise[telling], readings[:, telling]
    score = x.new_zeros(())
    for level in LEVELS:
        timesteps = torch.full((len(x),), int(level * len(prior.alphas_cumprod)), device=x.device)
        z = add_noise(x, noise, timesteps, prior.alphas_cumprod)
        pieces = [values.split(at_once) for values in (z, timesteps, *readings)]
        said, other = (
            torch.cat([prior.predict_noise(*piece) for piece in zip(*pieces[:2], text, strict=True)]).sub(noise).square().mean()
            for text in pieces[2:]
        )
        score += (other / said).log()
    return bool(score < 0)
