"""Settings that objectives have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from threefusion.config.fields import Schedule, Settings, bounded, slot
from threefusion.guidance.noise.settings import WhiteConfig

Weight = Literal["sigma2", "uniform", "alpha_sigma2", "sigma_over_alpha", "alpha_over_sigma", "inv_sigma2", "flow"]
"""The names of w(t)."""
NEVER = Schedule.constant(0.0)


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
    input: Literal["image", "normal", "latents"] = "image"
    """What the objective is computed on: the rendered image, the world-space normals as colours, or rendered latents (material
    `latent`), which are not encoded."""
    timestep_weight: Weight = "sigma2"
    """The weight w(t) of a residual at time t; sigma2 is DreamFusion's."""
    t_min: Schedule = bounded(Schedule.constant(0.02), 0, 1)
    """Lowest timestep as a fraction of the prior's noise schedule, included; low timesteps shape detail."""
    t_max: Schedule = bounded(Schedule.constant(0.98), 0, 1)
    """Highest timestep as a fraction of the prior's noise schedule, included; high timesteps shape layout."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_order(self, "t_min", "t_max")


def check_order(cfg: Settings, low: str, high: str) -> None:
    """Check that of two scheduled bounds the lower one is never above the other.

    Raises:
        ValueError: it is.
    """
    lows, highs = getattr(cfg, low), getattr(cfg, high)
    for step, _ in lows.knots + highs.knots:
        if lows(step) > highs(step):
            raise ValueError(f"{low}: expected at most {high} at every step; at step {step} it is larger")


@dataclass(frozen=True)
class ScoreDistillationConfig(DiffusionGuidanceConfig):
    """Settings of every objective of the form w(t) (contrast - baseline)."""

    guidance_scale: Schedule = bounded(Schedule.constant(101.0), -1e6, 1e6)
    """Strength of the prompt in the contrast; under `cfg` uncond + scale (text - uncond): DreamFusion's ω = 100 is 101 here."""
    guidance_t_min: Schedule = bounded(Schedule.constant(0.0), 0, 1)
    """Lowest timestep at which the contrast applies, as a fraction like `t_min`, included; below, views are evaluated under the
    text alone, as at a scale of 1."""
    guidance_t_max: Schedule = bounded(Schedule.constant(1.0), 0, 1)
    """Highest timestep at which the contrast applies, included."""
    contrast: Settings = slot("contrast", "cfg")
    """Which predictions are made, and how they are combined."""
    state: Settings = slot("state", "noised")
    """How the noised views come about."""
    noise: Settings = slot("noise", "white")
    """Where the noise comes from."""
    scorer: Settings | None = slot("scorer", None)
    """What else is wanted of the clean image that the prior predicts: a reward, or the right view; nothing by default."""
    baseline: Literal["noise", "none"] = "noise"
    """What is subtracted from a predicted noise: the noise itself, which lowers the variance, or nothing (SJC's plain form)."""
    rescale: float = bounded(0.0, 0, 1)
    """How far (0 to 1) the contrast of the guided clean image is pulled back to the unguided one's; 0.5 tames over-saturation."""
    clamp_x0: float | None = bounded(None, 0, 1e6, open_low=True)
    """Largest absolute value of the predicted clean image in the residual; 1 keeps a pixel prior's colours in range."""
    denoising_steps: int = bounded(1, 1, 1000)
    """Steps in which the clean image is solved for; 1 is the network's one guess."""
    ancestral: bool = False
    """Replace part of the noise by fresh noise between denoising steps (DDIM with eta = 1)."""
    image_weight: Schedule = bounded(NEVER, 0, 1e9)
    """Weight of the same residual in the image's space, for which the clean image is decoded."""
    normalize: bool = False
    """Divide each view's gradient by its norm: the size of the steps is then the optimizer's alone."""
    grad_clip: Schedule | None = bounded(None, 0, 1e9)
    """Largest absolute value of an element of the injected gradient, in the prior's space; nothing is clipped by default."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_order(self, "guidance_t_min", "guidance_t_max")
        if self.ancestral and self.denoising_steps == 1:
            raise ValueError("ancestral: only with denoising_steps above 1")
        if self.rescale and self.denoising_steps > 1:
            raise ValueError("rescale: only with denoising_steps 1")
        if self.input == "latents" and self.image_weight.largest:
            raise ValueError("image_weight: not with input latents, which are no image")
        if getattr(self.contrast, "is_direction", False):
            unread = dict(
                scorer=None, denoising_steps=1, rescale=0.0, clamp_x0=None, image_weight=NEVER, baseline="noise",
                guidance_t_min=NEVER, guidance_t_max=Schedule.constant(1.0),
            )  # fmt: skip
            for name, value in unread.items():
                if getattr(self, name) != value:
                    raise ValueError(f"{name}: only with a contrast that predicts the noise; this one is a direction")
        if not getattr(self.state, "reads_noise", True) and not isinstance(self.noise, WhiteConfig):
            raise ValueError("noise: not read by this state, whose noise is a prediction")
