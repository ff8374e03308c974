"""Settings of the built-in contrasts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

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

    rescale: float = bounded(0.0, 0, 1)
    """How far (0 to 1) the standard deviation of the guided noise is pulled back to the unguided one's; 0.7 in arXiv 2305.08891.
    The objective's own `rescale` does so with the clean image."""


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


@component("contrast", "perp-neg", "threefusion.guidance.contrast.perp_neg:PerpNeg", needs=("blended-views",))
@dataclass(frozen=True)
class PerpNegConfig(ContrastConfig):
    """Guidance away from the texts of other views."""

    weights: Literal["threestudio", "stable-dreamfusion"] = "threestudio"
    """How the weights of the front's and the side's text depend on the azimuth, after the toolkit they come from."""
    strength: float = bounded(1.0, 0, 1e6)
    """Factor of these weights."""
    negative_scale: float = bounded(1.0, 0, 1e6)
    """Weight of `prompt.negative`, if there is one: one more text to move away from."""


@component("contrast", "projected", "threefusion.guidance.contrast.projected:Projected")
@dataclass(frozen=True)
class ProjectedConfig(ContrastConfig):
    """Guidance perpendicular to the clean image."""

    eta: float = bounded(0.0, 0, 1)
    """Share that is kept of the part parallel to the clean image under the text; 1 keeps all of it."""
    max_norm: float | None = bounded(None, 0, 1e6, open_low=True)
    """Largest norm of a view's text - uncond in clean images, the paper's r; nothing is shortened by default."""


@component("contrast", "modifiers", "threefusion.guidance.contrast.modifiers:Modifiers")
@dataclass(frozen=True)
class ModifiersConfig(ContrastConfig):
    """The direction from a bad description to a good one."""

    is_direction: ClassVar[bool] = True

    positive: str = literal("{prompt}, detailed high resolution, high quality, sharp")
    """What to move towards; {prompt} stands for the text of a view."""
    negative: str = literal(
        "{prompt}, oversaturated, smooth, pixelated, cartoon, foggy, hazy, blurry, bad structure, noisy, malformed"
    )
    """What to move away from."""
