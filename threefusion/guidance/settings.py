"""Settings of the built-in objectives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from threefusion.config.fields import Schedule, Settings, bounded, slot
from threefusion.registry import component


@dataclass(frozen=True)
class GuidanceConfig(Settings):
    """Settings of every objective."""

    weight: Schedule = bounded(Schedule.constant(1.0), 0, 1e9)
    """Weight of the objective in the sum of all losses."""
    input: Literal["image", "normal"] = "image"
    """What the objective is computed on: the rendered image, or the world-space normals as colours."""


@dataclass(frozen=True)
class DiffusionGuidanceConfig(GuidanceConfig):
    """Settings of every objective with a diffusion prior."""

    prior: Settings = slot("prior", "pixel")
    """The frozen diffusion model."""
    timestep_weight: Literal[
        "sigma2", "uniform", "alpha_sigma2", "sigma_over_alpha", "alpha_over_sigma", "inv_sigma2", "flow"
    ] = "sigma2"
    """The weight w(t) of a residual at time t; sigma2 is DreamFusion's."""
    t_min: Schedule = bounded(Schedule.constant(0.02), 0, 1)
    """Lowest timestep as a fraction of the prior's noise schedule, included; low timesteps shape detail."""
    t_max: Schedule = bounded(Schedule.constant(0.98), 0, 1)
    """Highest timestep as a fraction of the prior's noise schedule, included; high timesteps shape layout."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for step in [step for step, _ in self.t_min.knots + self.t_max.knots]:
            if self.t_min(step) > self.t_max(step):
                raise ValueError(f"t_min: expected at most t_max at every step; at step {step} it is larger")


@dataclass(frozen=True)
class LinearDistillationConfig(DiffusionGuidanceConfig):
    """Settings of every objective of the form w(t) · residual."""

    grad_clip: Schedule | None = bounded(None, 0, 1e9)
    """Largest absolute value of an element of the injected gradient, in the prior's space; nothing is clipped by default."""


@component("guidance", "sds", "threefusion.guidance.sds:SDS")
@dataclass(frozen=True)
class SDSConfig(LinearDistillationConfig):
    """Score distillation sampling."""

    guidance_scale: Schedule = bounded(Schedule.constant(101.0), -1e6, 1e6)
    """Classifier-free guidance, uncond + scale (text - uncond); DreamFusion's ω = 100 is 101 here."""
    baseline: Literal["noise", "none"] = "noise"
    """What is subtracted from the prediction: the added noise, which lowers the variance, or nothing (SJC's plain form)."""
    rescale: float = bounded(0.0, 0, 1)
    """How far (0 to 1) the contrast of the guided clean image is pulled back to the unguided one's; 0.5 tames over-saturation."""
    clamp_x0: float | None = bounded(None, 0, 1e6, open_low=True)
    """Largest absolute value of the predicted clean image in the residual; 1 keeps a pixel prior's colours in range."""


@component("guidance", "full-gradient", "threefusion.guidance.full_gradient:FullGradient")
@dataclass(frozen=True)
class FullGradientConfig(DiffusionGuidanceConfig):
    """The diffusion loss with the U-Net's Jacobian."""

    guidance_scale: Schedule = bounded(Schedule.constant(1.0), -1e6, 1e6)
    """Classifier-free guidance, uncond + scale (text - uncond); at 1 the loss is the one the prior was trained with."""
