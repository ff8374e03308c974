"""What the components of this kind can be set to."""

from __future__ import annotations

from dataclasses import dataclass

from threefusion.config import Choice, slot


@dataclass(frozen=True)
class VolumeConfig:
    """How rays are sampled."""

    sampler: Choice = slot("sampler", "uniform")  # noqa: RUF009 (frozen)
    """Ray sampler: where along each ray the field is evaluated."""
    prune_below: float = 0.0
    """Samples that weigh less are left out after the density alone was evaluated, in training only while at least two fifths
    of them do; 0 keeps all."""
    samples_per_chunk: int = 262144
    """Samples evaluated together; training keeps one chunk's activations and recomputes the others'. Bounds the memory."""
    rays_per_chunk: int = 16384
    """Rays rendered together in evaluation; bounds the memory, not the result."""

    def __post_init__(self) -> None:
        if not 0 <= self.prune_below < 1:
            raise ValueError("prune_below: at least 0, less than 1")
        for name in ("samples_per_chunk", "rays_per_chunk"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: at least 1")


@dataclass(frozen=True)
class ImageConfig:
    """Nothing to choose: the canvas knows its size."""
