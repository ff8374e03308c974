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
