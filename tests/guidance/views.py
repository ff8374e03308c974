"""Batches of views that only guidance looks at: no camera matters, only the keys of the randomness."""

from __future__ import annotations

import torch

from threefusion.types import Cameras, Lights, PromptEmbeddings, ViewBatch


def make_batch(count: int = 2, step: int = 0, first: int = 0, seed: int = 0) -> ViewBatch:
    """Views `first`, `first + 1`, … of a step."""
    zero = torch.zeros(count)
    camera = Cameras(torch.eye(4).repeat(count, 1, 1), zero + 0.8, zero, zero, zero + 2, 16, 16)
    light = Lights(torch.zeros(count, 3), torch.ones(count, 3), torch.zeros(count, 3))
    return ViewBatch(camera, light, torch.zeros(count, dtype=torch.int64), step, torch.arange(first, first + count), seed)


def gaussian_embedding(
    count: int,
    text: tuple[float, float] = (0.8, 0.4),
    uncond: tuple[float, float] = (0.5, 0.4),
    negative: tuple[float, float] | None = None,
) -> PromptEmbeddings:
    """(grey mean in [0, 1], standard deviation) of the Gaussians that the conditions stand for."""

    def tokens(gaussian: tuple[float, float]) -> torch.Tensor:
        mean, std = gaussian
        return torch.tensor([mean, mean, mean, std]).expand(count, 1, 4)

    return PromptEmbeddings(tokens(text), tokens(uncond), None if negative is None else tokens(negative)[:, None])
