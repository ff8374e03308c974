"""Settings of the built-in renderers."""

from __future__ import annotations

from dataclasses import dataclass

from threefusion.config.fields import Settings, bounded, slot
from threefusion.registry import component


@component("renderer", "volume", "threefusion.renderer.volume:Volume", needs=("density",))
@dataclass(frozen=True)
class VolumeConfig(Settings):
    """How rays are sampled."""

    sampler: Settings = slot("sampler", "uniform")
    """Ray sampler: where along each ray the field is evaluated."""
    prune_below: float = bounded(0.0, 0, 1, open_high=True)
    """Samples that weigh less are left out after the density alone was evaluated, in training only while at least two fifths
    of them do; 0 keeps all."""
    samples_per_chunk: int = bounded(262144, 1, 2**31 - 1)
    """Samples evaluated together; training keeps one chunk's activations and recomputes the others'. Bounds the memory."""
    rays_per_chunk: int = bounded(16384, 1, 2**31 - 1)
    """Rays rendered together in evaluation; bounds the memory, not the result."""


@component("renderer", "image", "threefusion.renderer.image:Image", needs=("canvas",))
@dataclass(frozen=True)
class ImageConfig(Settings):
    """Nothing to choose: the canvas knows its size."""
