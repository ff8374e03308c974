"""What one step takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class StepMemory:
    """Bytes of tensors that a step makes and frees again: parameters, their gradients of the step before and weights excepted."""

    samples: int | None
    """Samples that were looked at; None where a renderer has none."""
    kept: int
    """Alive after the render for its backward pass."""
    render: int
    """The most that were alive during the render."""
    guidance: int
    """The most during the guidance, what the render keeps included."""
    backward: int
    """The most during the backward pass and the update, the new gradients included."""
    network_inputs: int
    """Noised images in the largest call of the prior's network."""


@dataclass(frozen=True)
class StepTrace:
    """The same operation by operation: what is alive after each of them, by phase."""

    samples: int | None
    kept: int
    render: list[int]
    guidance: list[int]
    backward: list[int]
    network_inputs: int

    def memory(self) -> StepMemory:
        """The peaks."""
        peaks = (max(self.render), max(self.guidance), max(self.backward))
        return StepMemory(self.samples, self.kept, *peaks, self.network_inputs)
