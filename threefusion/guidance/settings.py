"""What the components of this kind can be set to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from threefusion.config import Choice, slot
from threefusion.schedule import Schedule


@dataclass(frozen=True)
class GuidanceConfig:
    """What every objective needs."""

    prior: Choice = slot("prior", "pixel")  # noqa: RUF009 (frozen)
    """The frozen diffusion model that judges."""
    weight: Literal["sigma2", "uniform", "alpha_sigma2", "sigma_over_alpha", "alpha_over_sigma", "inv_sigma2", "flow"] = "sigma2"
    """The weight w(t) of a residual at timestep t; sigma2 is DreamFusion's."""
    t_min: Schedule = Schedule.constant(0.02)  # noqa: RUF009 (frozen)
    """Lowest timestep as a fraction of the prior's noise schedule, included; low timesteps shape detail."""
    t_max: Schedule = Schedule.constant(0.98)  # noqa: RUF009 (frozen)
    """Highest timestep as a fraction of the prior's noise schedule, included; high timesteps shape layout."""

    def __post_init__(self) -> None:
        for step in [step for step, _ in self.t_min.knots + self.t_max.knots]:
            if not 0 <= self.t_min(step) <= self.t_max(step) <= 1:
                raise ValueError(f"t_min: between 0 and t_max, and t_max at most 1, at every step; not so at step {step}")


@dataclass(frozen=True)
class LinearDistillationConfig(GuidanceConfig):
    """What every objective of the form w(t) · residual needs."""

    grad_clip: Schedule | None = None
    """Largest absolute value of an element of the injected gradient, in the prior's space; nothing is clipped by default."""


@dataclass(frozen=True)
class SDSConfig(LinearDistillationConfig):
    """Score distillation sampling."""

    guidance_scale: Schedule = Schedule.constant(101.0)  # noqa: RUF009 (frozen)
    """Classifier-free guidance, uncond + scale (text - uncond); DreamFusion's ω = 100 is 101 here."""
    baseline: Literal["noise", "none"] = "noise"
    """What is subtracted from the prediction: the added noise, which lowers the variance, or nothing (SJC's plain form)."""
    rescale: float = 0.0
    """How far (0 to 1) the contrast of the guided clean image is pulled back to the unguided one's; 0.5 tames over-saturation."""
    clamp_x0: float | None = None
    """Largest absolute value of the predicted clean image in the residual; 1 keeps a pixel prior's colours in range."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.rescale <= 1:
            raise ValueError("rescale: 0 to 1")
        if self.clamp_x0 is not None and self.clamp_x0 <= 0:
            raise ValueError("clamp_x0: above 0")


@dataclass(frozen=True)
class FullGradientConfig(GuidanceConfig):
    """The diffusion loss with the U-Net's Jacobian."""

    guidance_scale: Schedule = Schedule.constant(1.0)  # noqa: RUF009 (frozen)
    """Classifier-free guidance, uncond + scale (text - uncond); at 1 the loss is the one the prior was trained with."""
