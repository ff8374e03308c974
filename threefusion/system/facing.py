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

from threefusion.guidance.noise import add_noise
from threefusion.guidance.prior.prior import DiffusionPrior
from threefusion.types import Cameras, PromptEmbeddings, ViewBatch

LEVELS = (0.5, 0.6, 0.7, 0.8, 0.9)
"""Timesteps at which the losses are compared, as parts of the schedule: below, both prompts predict equally well."""


@torch.no_grad()
def faces_backwards(
    prior: DiffusionPrior,
    prompt: Callable[[Cameras], PromptEmbeddings],
    x: Float[Tensor, "B C h w"],
    batch: ViewBatch,
    at_once: int,
) -> bool:
    """Whether the prior predicts the views, encoded as `x`, better with front and back exchanged in their prompts.

    The losses with both prompts are compared as ratios, timestep by timestep, on the same noise, over the views whose prompt
    changes: views from the side and from overhead are not informative. The network sees `at_once` of them at a time.
    """
    opposite = replace(batch.camera, azimuth=(batch.camera.azimuth + 2 * pi) % (2 * pi) - pi)
    noise = batch.randn("facing", *prior.shape)
    tokens = torch.stack([prompt(camera).text for camera in (batch.camera, opposite)])
    informative = (tokens[0] != tokens[1]).flatten(1).any(1)
    if not informative.any():
        return False
    x, noise, tokens = x[informative], noise[informative], tokens[:, informative]
    score = x.new_zeros(())
    for level in LEVELS:
        timesteps = torch.full((len(x),), int(level * len(prior.alphas_cumprod)), device=x.device)
        z = add_noise(x, noise, timesteps, prior.alphas_cumprod)
        pieces = [values.split(at_once) for values in (z, timesteps, *tokens)]
        as_prompted, flipped = (
            torch.cat([prior.predict_noise(*piece) for piece in zip(*pieces[:2], text, strict=True)]).sub(noise).square().mean()
            for text in pieces[2:]
        )
        score += (flipped / as_prompted).log()
    return bool(score < 0)
