"""What networks predict -> noise, and noise schedules -> tables: the arithmetic at a prior's edge, in float32."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from math import cos, pi
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.errors import UserError

PREDICTION_TYPES = ("epsilon", "v_prediction", "sample")


def to_noise(
    output: Float[Tensor, "B C h w"],
    z: Float[Tensor, "B C h w"],
    alpha: Float[Tensor, "B 1 1 1"],
    sigma: Float[Tensor, "B 1 1 1"],
    prediction_type: str,
) -> Float[Tensor, "B C h w"]:
    """The predicted noise, given what the network predicts: ε, v = alpha ε - sigma x (arXiv 2202.00512) or the clean sample x."""
    if prediction_type == "epsilon":
        return output
    if prediction_type == "v_prediction":
        return alpha * output + sigma * z
    return (z - alpha * output) / sigma


def alphas_cumprod(config: Mapping[str, Any]) -> Float[Tensor, "T"]:
    """The table ᾱ_t of a diffusers scheduler config, computed in float64 and stored in float32.

    Raises:
        UserError: the schedule is not one that is known here.
    """
    betas = _betas(config)
    table = torch.cumprod(1 - betas, 0)
    if config.get("rescale_betas_zero_snr"):
        root = table.sqrt()
        # arXiv 2305.08891, algorithm 1: shift so that nothing of the signal is left at the end, scale so that the start stays.
        table = ((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2
    return table.float()


def _betas(config: Mapping[str, Any]) -> Float[Tensor, "T"]:
    """The variances added per timestep, float64."""
    if config.get("trained_betas") is not None:
        return torch.tensor(config["trained_betas"], dtype=torch.float64)
    length = config.get("num_train_timesteps", 1000)
    start, end = config.get("beta_start", 1e-4), config.get("beta_end", 0.02)
    rule = config.get("beta_schedule", "linear")
    if rule == "linear":
        return torch.linspace(start, end, length, dtype=torch.float64)
    if rule == "scaled_linear":
        return torch.linspace(start**0.5, end**0.5, length, dtype=torch.float64) ** 2
    if rule == "squaredcos_cap_v2":
        remaining = [cos((t / length + 0.008) / 1.008 * pi / 2) ** 2 for t in range(length + 1)]
        return torch.tensor([min(1 - b / a, 0.999) for a, b in pairwise(remaining)], dtype=torch.float64)
    raise UserError(
        f"beta_schedule {rule!r} of the model's scheduler is not known; known: linear, scaled_linear, squaredcos_cap_v2"
    )
