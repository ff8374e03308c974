"""Settings of the built-in contrasts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from threefusion.config.fields import Schedule, Settings, bounded, literal
from threefusion.registry import component


@dataclass(frozen=True)
class ContrastConfig(Settings):
    """Settings of every contrast."""

    is_direction: ClassVar[bool] = False
    """Whether predictions are only subtracted from each other, so that nothing else has to be: their coefficients sum to 0."""


@component("contrast", "cfg", "threefusion.guidance.contrast.cfg:ClassifierFreeGuidance")
@dataclass(frozen=True)
class CFGConfig(ContrastConfig):
    """Classifier-free guidance."""


@component("contrast", "classifier", "threefusion.guidance.contrast.classifier:Classifier")
@dataclass(frozen=True)
class ClassifierConfig(ContrastConfig):
    """The classifier's part of the score."""

    is_direction: ClassVar[bool] = True

    negative_scale: Schedule = bounded(Schedule.constant(0.0), 0, 1e6)
    """Weight of the direction away from `negative`, ω₂ of the paper; 0 leaves it out."""
    negative: str = literal("oversaturated color, ugly, tiling, low quality, noisy")
    """What to move away from, in words."""


@component("contrast", "noise-free", "threefusion.guidance.contrast.noise_free:NoiseFree")
@dataclass(frozen=True)
class NoiseFreeConfig(ContrastConfig):
    """The score without its noise."""

    is_direction: ClassVar[bool] = True

    negative: str = literal(
        "unrealistic, blurry, low quality, out of focus, ugly, low contrast, dull, dark, low-resolution, gloomy"
    )
    """What stands for images that no training picture looks like, in words."""
    threshold: float = bounded(0.7536, 0, 1)
    """ᾱ above which there is little noise to correct, and `negative` is not used: that of timestep 200 of Stable Diffusion."""
