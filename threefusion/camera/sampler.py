"""The base class of camera samplers, and their random numbers."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor

from threefusion.component import Component
from threefusion.types import ViewBatch, view_generator


class CameraSampler(Component):
    """Draws the views of each step: cameras, lights and shading.

    View `index` of the global batch is a pure function of (seed, step, index), so neither a resume nor another number of
    processes changes the run.
    """

    kind: ClassVar[str] = "camera"
    batch_size: int
    """Views per optimiser step, over all processes."""
    group_size: int = 1
    """Views in a row of the global batch that belong together, for priors that denoise several views jointly."""

    plans: ClassVar[bool] = False
    """Whether it has a method `plan(mesh, points, normals, heading)`, to be called before a training: the surface that it should
    see, points of it with normals, and the angle by which the scene is turned."""

    @abstractmethod
    def sample(self, step: int, seed: int, index: Int[Tensor, "B"]) -> ViewBatch:
        """Views `index` of the global batch of `step`."""


def uniform_numbers(step: int, seed: int, index: Int[Tensor, "B"], purpose: str, count: int) -> Float[Tensor, "B {count}"]:
    """Uniform numbers in [0, 1), a pure function of (seed, step, index, purpose) row by row."""
    return torch.stack([torch.rand(count, generator=view_generator(seed, step, i, purpose)) for i in index.tolist()])


def normal_numbers(step: int, seed: int, index: Int[Tensor, "B"], purpose: str, count: int) -> Float[Tensor, "B {count}"]:
    """Standard normal numbers, drawn like `uniform_numbers`."""
    return torch.stack([torch.randn(count, generator=view_generator(seed, step, i, purpose)) for i in index.tolist()])


def between(bounds: tuple[float, float], fraction: Float[Tensor, "B"]) -> Float[Tensor, "B"]:
    """The first bound at fraction 0, the second at 1."""
    low, high = bounds
    return low + (high - low) * fraction
