"""Noised views, predictions and conditioning in double precision, for contrasts that are called without a network."""

from __future__ import annotations

import torch
from torch import Tensor

from threefusion.guidance.contrast.contrast import Contrast
from threefusion.guidance.noised import NoisedViews
from threefusion.guidance.prior.conditioning import Conditioning, PromptConditioning

SHAPE = (2, 3, 8, 8)
PART = Conditioning(torch.zeros(2, 1, 1))
PROMPT = PromptConditioning(PART, PART)


def normal(seed: int, *names: str) -> dict[str, Tensor]:
    """A normal sample per name."""
    drawn = torch.randn(len(names), *SHAPE, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return dict(zip(names, drawn, strict=True))


def noised() -> NoisedViews:
    """A view with little noise and one with much."""
    x, noise = normal(1, "x", "noise").values()
    alpha, sigma = (torch.tensor(pair, dtype=torch.float64).view(2, 1, 1, 1) for pair in ([0.9, 0.3], [0.4, 0.95]))
    return NoisedViews(x, alpha * x + sigma * noise, noise, torch.tensor([0.2, 0.8]), alpha, sigma)


def combine(contrast: Contrast, predicted: dict[str, Tensor], scale: float = 7.5, prompt: PromptConditioning = PROMPT) -> Tensor:
    """What the contrast makes of predictions at `noised()`."""
    return contrast.combine(predicted, noised(), prompt, scale, 0)
