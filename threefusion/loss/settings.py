"""Settings of the built-in losses."""

from __future__ import annotations

from dataclasses import dataclass

from threefusion.config.fields import Schedule, Settings, bounded, located
from threefusion.registry import component


@dataclass(frozen=True)
class LossConfig(Settings):
    """What every loss term has."""

    weight: Schedule = bounded(Schedule(((0, 1.0),)), -1e9, 1e9)
    """Factor of the term in the sum, by optimiser step; where it is 0 the term is not computed."""


@component("loss", "sparsity", "threefusion.loss.sparsity:Sparsity")
@dataclass(frozen=True)
class SparsityConfig(LossConfig):
    """Weight of the term."""

    weight: Schedule = bounded(Schedule(((0, 1e-3),)), -1e9, 1e9)
    """Factor of the term in the sum, by optimiser step; 1e-3 in DreamFusion, 1 in threestudio."""


@component("loss", "opaqueness", "threefusion.loss.opaqueness:Opaqueness")
@dataclass(frozen=True)
class OpaquenessConfig(LossConfig):
    """Weight of the term."""

    weight: Schedule = bounded(Schedule(((0, 1.0),)), -1e9, 1e9)
    """Factor of the term in the sum, by optimiser step."""


@component("loss", "transmittance", "threefusion.loss.transmittance:Transmittance")
@dataclass(frozen=True)
class TransmittanceConfig(LossConfig):
    """Weight of the term and the share of the image that may be filled."""

    weight: Schedule = bounded(Schedule(((0, 0.5),)), -1e9, 1e9)
    """Factor of the term in the sum, by optimiser step."""
    # exponential from 0.5 to 0.1 in 500 steps
    opacity: Schedule = bounded(Schedule(((0, 0.5), (125, 0.334), (250, 0.224), (375, 0.15), (500, 0.1))), 0, 1)
    """Mean opacity of a view below which more emptiness is not rewarded, before it is scaled by the area in the image."""
    focal: float = bounded(1.3889, 0, 100, open_low=True)
    """Focal length in image heights to which `opacity` belongs, at a distance of 4; that of NeRF's synthetic scenes."""


@component("loss", "orientation", "threefusion.loss.orientation:Orientation", needs=("samples",))
@dataclass(frozen=True)
class OrientationConfig(LossConfig):
    """Weight of the term."""

    weight: Schedule = bounded(Schedule(((0, 1e-4), (5000, 1e-2))), -1e9, 1e9)
    """Factor of the term in the sum, by optimiser step; DreamFusion raises it a hundredfold over 5000 steps."""


@component("loss", "normal-consistency", "threefusion.loss.mesh_terms:NormalConsistency", needs=("mesh",))
@dataclass(frozen=True)
class NormalConsistencyConfig(LossConfig):
    """Weight of the term."""


@component("loss", "laplacian", "threefusion.loss.mesh_terms:Laplacian", needs=("mesh",))
@dataclass(frozen=True)
class LaplacianConfig(LossConfig):
    """Weight of the term."""


@component("loss", "sdf-entropy", "threefusion.loss.mesh_terms:SdfEntropy", needs=("mesh", "edge-distances"))
@dataclass(frozen=True)
class SdfEntropyConfig(LossConfig):
    """Weight of the term."""

    weight: Schedule = bounded(Schedule(((0, 0.2),)), -1e9, 1e9)
    """Factor of the term in the sum, by optimiser step; nvdiffrec lowers it from 0.2 to 0.01."""


@component("loss", "eikonal", "threefusion.loss.eikonal:Eikonal", needs=("gradients",))
@dataclass(frozen=True)
class EikonalConfig(LossConfig):
    """Weight of the term."""

    weight: Schedule = bounded(Schedule(((0, 0.1),)), -1e9, 1e9)
    """Factor of the term in the sum, by optimiser step; 0.1 in IGR and NeuS."""


@component("loss", "z-variance", "threefusion.loss.z_variance:ZVariance", needs=("samples",))
@dataclass(frozen=True)
class ZVarianceConfig(LossConfig):
    """Weight of the term."""


@component("loss", "normal-smoothness-2d", "threefusion.loss.normal_smoothness:NormalSmoothness2d", needs=("normals",))
@dataclass(frozen=True)
class NormalSmoothness2dConfig(LossConfig):
    """Weight of the term."""


@component("loss", "normal-smoothness-3d", "threefusion.loss.normal_smoothness:NormalSmoothness3d", needs=("samples",))
@dataclass(frozen=True)
class NormalSmoothness3dConfig(LossConfig):
    """Weight of the term."""


@component("loss", "reference", "threefusion.loss.reference:Reference")
@dataclass(frozen=True)
class ReferenceConfig(LossConfig):
    """The picture, where it was taken from, and how much its outline counts."""

    weight: Schedule = bounded(Schedule(((0, 200.0),)), -1e9, 1e9)
    """Factor of the term in the sum, by optimiser step; 200 in threestudio, beside a score distillation of weight 0.003."""
    image: str = located("")
    """The picture, with transparency around the object; empty: the picture of the guidance's prior, and its pose in place of the
    next three."""
    elevation_deg: float = bounded(0.0, -90, 90)
    """Elevation of the picture's camera above the horizon."""
    azimuth_deg: float = bounded(0.0, -360, 360)
    """Azimuth of the picture's camera; 0 is the front (+x)."""
    distance: float = bounded(2.0, 1e-3, 1e3)
    """Distance of the picture's camera from the origin."""
    fovy_deg: float = bounded(45.0, 1, 170)
    """Vertical field of view of the picture's camera."""
    mask_weight: float = bounded(0.25, 0, 1e9)
    """Factor of the error in opacity beside that in colour; threestudio's 50 beside 200."""


@component("loss", "anchor", "threefusion.loss.anchor:Anchor", needs=("texels",))
@dataclass(frozen=True)
class AnchorConfig(LossConfig):
    """Weight of the term."""
