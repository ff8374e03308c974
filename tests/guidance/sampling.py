"""Images drawn with a prior and a scheduler of diffusers, whose `step` alone is used."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from threefusion.guidance.predictions import cfg_combine
from threefusion.guidance.prior.prior import DiffusionPrior
from threefusion.guidance.prior.schedule import RectifiedFlow

FORMS = {"epsilon": "noise", "v_prediction": "velocity", "sample": "clean"}
"""What a scheduler wants, by its prediction type."""


@torch.no_grad()
def draw(prior: DiffusionPrior, scheduler: Any, noise: Tensor, texts: list[str], scale: float) -> Tensor:
    """Where the steps that the scheduler has set lead; the texts are the negative or empty one and the prompt, or this alone."""
    z, condition = noise, prior.text_encoder().encode(texts)
    if is_flow(scheduler):
        scheduler._step_index = None  # the pipeline's own run came before
    for timestep in scheduler.timesteps:
        t = time_of(prior, scheduler, timestep).expand(len(texts))
        alpha, sigma = prior.schedule.coefficients(t)
        # a flow's states are (1 - s) x + s noise, whichever states the prior has
        states = z * (alpha + sigma) if is_flow(scheduler) else z.expand(len(texts), -1, -1, -1)
        predicted = prior.predict(states, t, condition)
        output = predicted.noise - predicted.clean if is_flow(scheduler) else getattr(predicted, form_of(scheduler))
        guided = output if len(texts) == 1 else cfg_combine(*output.chunk(2), scale)
        z = scheduler.step(guided, timestep, z).prev_sample
    return z


def form_of(scheduler: Any) -> str:
    """The form of a prediction that a scheduler wants."""
    return FORMS[scheduler.config.prediction_type]


def is_flow(scheduler: Any) -> bool:
    """Whether it is the scheduler of a flow."""
    return "shift" in scheduler.config


def time_of(prior: DiffusionPrior, scheduler: Any, timestep: Tensor) -> Tensor:
    """The prior's time of a timestep."""
    level = timestep / scheduler.config.num_train_timesteps
    if not is_flow(scheduler):
        return level
    schedule = getattr(prior.schedule, "flow", prior.schedule)
    assert isinstance(schedule, RectifiedFlow)
    return level / (schedule.shift - (schedule.shift - 1) * level)
