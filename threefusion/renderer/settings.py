"""Settings of the built-in renderers."""

from __future__ import annotations

from dataclasses import dataclass

from threefusion.config.fields import Schedule, Settings, bounded, slot
from threefusion.registry import component, entry_of

GIVEN_BY_DISTANCES = ("normals", "samples", "gradients")


@component("renderer", "volume", "threefusion.renderer.volume:Volume", gives=("normals", "samples"), needs=("density",))
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


@component("renderer", "neus", "threefusion.renderer.neus:Neus", gives=GIVEN_BY_DISTANCES, needs=("distance",))
@dataclass(frozen=True)
class NeusConfig(VolumeConfig):
    """How rays are sampled, and how sharp the surface is (NeuS, arXiv 2106.10689)."""

    initial_sharpness: float = bounded(20.0, 0, 1e6, open_low=True)
    """Learned sharpness s at the beginning, per scene unit; the surface is about 4 / s thick."""
    max_sharpness: float = bounded(2000.0, 0, 1e6, open_low=True)
    """Sharpness beyond which it does not grow: a surface much thinner than a sample has no gradient."""
    cos_anneal: Schedule = bounded(Schedule.constant(1.0), 0, 1)
    """Share of the true slope of the distance along a ray, by step; below 1 samples behind the surface get gradients too."""


@component("renderer", "volsdf", "threefusion.renderer.volsdf:Volsdf", gives=GIVEN_BY_DISTANCES, needs=("distance",))
@dataclass(frozen=True)
class VolsdfConfig(VolumeConfig):
    """How rays are sampled, and how sharp the surface is (VolSDF, arXiv 2106.12052)."""

    initial_beta: float = bounded(0.1, 0, 1e3, open_low=True)
    """Learned width of the surface at the beginning, without `min_beta`, in scene units."""
    min_beta: float = bounded(1e-3, 0, 1e3, open_low=True)
    """Least width of the surface, in scene units; 1e-4 in VolSDF, whose samples follow the surface."""


@component("renderer", "image", "threefusion.renderer.image:Image", gives=("image",), needs=("canvas",))
@dataclass(frozen=True)
class ImageConfig(Settings):
    """Nothing to choose: the canvas knows its size."""


@component("renderer", "rasterizer", "threefusion.renderer.rasterizer:Rasterizer", gives=("normals", "mesh"), needs=("surface",))
@dataclass(frozen=True)
class RasterizerConfig(Settings):
    """Nothing to choose: the cameras know the size."""


@component("renderer", "patch", "threefusion.renderer.patch:Patch", needs=("density|distance|surface",))
@dataclass(frozen=True)
class PatchConfig(Settings):
    """What renders, and how much of the image has full resolution in training."""

    base: Settings = slot("renderer", "volume")
    """Renderer of both images; geometries need what it needs."""
    size: int = bounded(128, 1, 2**15)
    """Height and width of the patch in pixels, at most those of the image."""
    downsample: int = bounded(4, 1, 1024)
    """Factor by which the whole image is smaller."""
    detach_global: bool = False
    """Let only the patch have gradients."""
    global_probability: float = bounded(0.0, 0, 1)
    """Probability that a view has no patch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if "canvas" in entry_of(self.base).needs:
            raise ValueError("base: expected a renderer whose images have the size of the camera")
