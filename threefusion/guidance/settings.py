"""Settings of the built-in objectives."""

from __future__ import annotations

from dataclasses import dataclass, field

from threefusion.config.fields import Schedule, Settings, bounded, literal, located, slot
from threefusion.guidance.base_settings import DiffusionGuidanceConfig, GuidanceConfig, ScoreDistillationConfig, Weight
from threefusion.guidance.prior.settings import CriticConfig
from threefusion.registry import component

SCORE = "threefusion.guidance.score:ScoreDistillation"
FALLING = ((0, 0.98), (2000, 0.692), (5000, 0.404), (10000, 0.212))


@component("guidance", "sds", SCORE)
@dataclass(frozen=True)
class SDSConfig(ScoreDistillationConfig):
    """Score distillation sampling (DreamFusion, arXiv 2209.14988)."""


@component("guidance", "sjc", SCORE)
@dataclass(frozen=True)
class SJCConfig(ScoreDistillationConfig):
    """Score Jacobian chaining (arXiv 2212.00774): equal weights; `baseline: none` is the form without variance reduction."""

    guidance_scale: Schedule = bounded(Schedule.constant(100.0), -1e6, 1e6)
    timestep_weight: Weight = "uniform"
    t_min: Schedule = bounded(Schedule.constant(0.01), 0, 1)
    t_max: Schedule = bounded(Schedule.constant(0.969), 0, 1)


@component("guidance", "csd", SCORE)
@dataclass(frozen=True)
class CSDConfig(ScoreDistillationConfig):
    """Classifier score distillation (arXiv 2310.19415)."""

    guidance_scale: Schedule = bounded(Schedule.constant(1.0), -1e6, 1e6)
    contrast: Settings = slot("contrast", "classifier")
    timestep_weight: Weight = "uniform"
    normalize: bool = True


@component("guidance", "nfsd", SCORE)
@dataclass(frozen=True)
class NFSDConfig(ScoreDistillationConfig):
    """Noise-free score distillation (arXiv 2310.17590)."""

    guidance_scale: Schedule = bounded(Schedule.constant(7.5), -1e6, 1e6)
    contrast: Settings = slot("contrast", "noise-free")


@component("guidance", "bridge", "threefusion.guidance.bridge:Bridge")
@dataclass(frozen=True)
class BridgeConfig(ScoreDistillationConfig):
    """SDS-Bridge (arXiv 2406.09417); the second stage begins at step 20,000 of the paper's 25,000, set it to your own length."""

    guidance_scale: Schedule = bounded(Schedule.constant(100.0), -1e6, 1e6)
    modifiers: Settings = slot("contrast", "modifiers")
    """The contrast of the second stage, a direction."""
    modifiers_scale: Schedule = bounded(Schedule.constant(100.0), -1e6, 1e6)
    """Strength of that direction: 100 as in the official code, whose 3-D config has 1 and equal weights for all t."""
    mix: Schedule = bounded(Schedule(((20000, 0.0), (20001, 1.0))), 0, 1)
    """Share of the second stage; the rest is score distillation."""

    def __post_init__(self) -> None:
        super().__post_init__()
        refuse_direction(self)
        if not getattr(self.modifiers, "is_direction", False):
            raise ValueError("modifiers: expected a contrast that is a direction, such as modifiers")
        if self.image_weight.largest > 0:
            raise ValueError("image_weight: expected 0, because the second stage has no clean image")


@component("guidance", "asd", "threefusion.guidance.asd:ASD")
@dataclass(frozen=True)
class ASDConfig(ScoreDistillationConfig):
    """Asynchronous score distillation (ScaleDreamer, arXiv 2407.02040)."""

    guidance_scale: Schedule = bounded(Schedule.constant(7.5), -1e6, 1e6)
    shift: Schedule = bounded(Schedule.constant(0.1), 0, 10)
    """Largest distance between the two times, as a share of t - t_min."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_own_baseline(self)


@component("guidance", "vsd", "threefusion.guidance.vsd:VSD")
@dataclass(frozen=True)
class VSDConfig(ScoreDistillationConfig):
    """Variational score distillation (ProlificDreamer, arXiv 2305.16213)."""

    guidance_scale: Schedule = bounded(Schedule.constant(7.5), -1e6, 1e6)
    t_max: Schedule = bounded(Schedule(((4999, 0.98), (5000, 0.5))), 0, 1)
    critic: CriticConfig = field(default_factory=CriticConfig)
    """The copy of the prior that is trained on the renders, and subtracted."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_own_baseline(self)
        if getattr(self.prior, "offload", False):
            raise ValueError("prior.offload: not with a critic, which is trained where the networks are")


@component("guidance", "ism", SCORE)
@dataclass(frozen=True)
class ISMConfig(ScoreDistillationConfig):
    """Interval score matching (LucidDreamer, arXiv 2311.11284)."""

    weight: Schedule = bounded(Schedule.constant(0.1), 0, 1e9)
    guidance_scale: Schedule = bounded(Schedule.constant(7.5), -1e6, 1e6)
    state: Settings = slot("state", "interval")
    timestep_weight: Weight = "sigma_over_alpha"
    t_max: Schedule = bounded(Schedule(((0, 0.98), (1500, 0.5))), 0, 1)


@component("guidance", "sdi", SCORE)
@dataclass(frozen=True)
class SDIConfig(ScoreDistillationConfig):
    """Score distillation via inversion (arXiv 2405.15891); t falls in 10,000 steps, set it to your run's."""

    guidance_scale: Schedule = bounded(Schedule.constant(7.5), -1e6, 1e6)
    state: Settings = slot("state", "inverted")
    timestep_weight: Weight = "sigma_over_alpha"
    t_min: Schedule = bounded(Schedule(((0, 0.98), (10000, 0.2))), 0, 1)
    t_max: Schedule = bounded(Schedule(((0, 0.98), (10000, 0.2))), 0, 1)


@component("guidance", "pfd", SCORE)
@dataclass(frozen=True)
class PFDConfig(SDIConfig):
    """SDI towards the clean image that the reverse ODE is solved for (arXiv 2605.09071)."""

    denoising_steps: int = bounded(10, 1, 1000)


@component("guidance", "cfd", SCORE)
@dataclass(frozen=True)
class CFDConfig(ScoreDistillationConfig):
    """Consistent flow distillation (arXiv 2501.05445); t falls in 10,000 steps, set it to your run's."""

    guidance_scale: Schedule = bounded(Schedule.constant(50.0), -1e6, 1e6)
    noise: Settings = slot("noise", "surface")
    timestep_weight: Weight = "sigma_over_alpha"
    t_min: Schedule = bounded(Schedule(FALLING), 0, 1)
    t_max: Schedule = bounded(Schedule(FALLING), 0, 1)


@component("guidance", "dds", "threefusion.guidance.dds:DDS")
@dataclass(frozen=True)
class DDSConfig(ScoreDistillationConfig):
    """Delta denoising score (arXiv 2304.07090): edits the scene that the run starts from, or a picture."""

    guidance_scale: Schedule = bounded(Schedule.constant(7.5), -1e6, 1e6)
    timestep_weight: Weight = "uniform"
    t_min: Schedule = bounded(Schedule.constant(0.05), 0, 1)
    t_max: Schedule = bounded(Schedule.constant(0.948), 0, 1)
    source: str = located("")
    """A picture that is edited; without one it is the scene that the run starts from, rendered from the same cameras."""
    source_prompt: str = literal("")
    """What the source shows, in words; must be given."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_own_baseline(self)


@component("guidance", "rfds", SCORE)
@dataclass(frozen=True)
class RFDSConfig(ScoreDistillationConfig):
    """Rectified-flow distillation sampling (arXiv 2406.03293): the error of the velocity, on any prior."""

    guidance_scale: Schedule = bounded(Schedule.constant(100.0), -1e6, 1e6)
    timestep_weight: Weight = "flow"


@component("guidance", "rfds-rev", SCORE)
@dataclass(frozen=True)
class RFDSRevConfig(RFDSConfig):
    """RFDS on noise that one step of inversion has refined (arXiv 2406.03293)."""

    state: Settings = slot("state", "refined")


@component("guidance", "reconstruction", SCORE)
@dataclass(frozen=True)
class ReconstructionConfig(ScoreDistillationConfig):
    """The distance to the guided clean image, its contrast rescaled (MVDream, arXiv 2308.16512)."""

    guidance_scale: Schedule = bounded(Schedule.constant(50.0), -1e6, 1e6)
    timestep_weight: Weight = "sigma_over_alpha"
    rescale: float = bounded(0.5, 0, 1)


@component("guidance", "hifa", SCORE)
@dataclass(frozen=True)
class HiFAConfig(ScoreDistillationConfig):
    """HiFA (arXiv 2305.18766): the distance to a clean image of four denoising steps, in the prior's space and in the image's."""

    weight: Schedule = bounded(Schedule.constant(0.05), 0, 1e9)
    guidance_scale: Schedule = bounded(Schedule.constant(100.0), -1e6, 1e6)
    timestep_weight: Weight = "sigma_over_alpha"
    denoising_steps: int = bounded(4, 1, 1000)
    ancestral: bool = True
    image_weight: Schedule = bounded(Schedule.constant(0.1), 0, 1e9)


def refuse_direction(cfg: ScoreDistillationConfig) -> None:
    """Check that the contrast predicts the noise, from which something is subtracted.

    Raises:
        ValueError: it is a direction already.
    """
    if getattr(cfg.contrast, "is_direction", False):
        raise ValueError("contrast: expected one that predicts the noise, from which another prediction is subtracted")


def check_own_baseline(cfg: ScoreDistillationConfig) -> None:
    """Check the settings of an objective that subtracts a prediction of its own.

    Raises:
        ValueError: the contrast is a direction already, or `baseline` is set.
    """
    refuse_direction(cfg)
    if cfg.baseline != "noise":
        raise ValueError("baseline: this objective subtracts a prediction of its own")


@component("guidance", "full-gradient", "threefusion.guidance.full_gradient:FullGradient")
@dataclass(frozen=True)
class FullGradientConfig(DiffusionGuidanceConfig):
    """The diffusion loss with the U-Net's Jacobian."""

    guidance_scale: Schedule = bounded(Schedule.constant(1.0), -1e6, 1e6)
    """Classifier-free guidance, uncond + scale (text - uncond); at 1 the loss is the one the prior was trained with."""


@component("guidance", "clip", "threefusion.guidance.clip:Clip")
@dataclass(frozen=True)
class ClipConfig(GuidanceConfig):
    """Dream Fields (arXiv 2112.01455): no diffusion model."""

    model: str = "toyworld-judge"
    """A folder with a CLIPModel of transformers, its tokenizer and preprocessor, a hub id, or an alias (`doctor` lists them)."""
    revision: str | None = None
    """Commit, tag or branch of a hub id; a local folder has none."""
    crops: int = bounded(8, 1, 1000)
    """Random crops per view; each is an evaluation of the network, with its backward pass."""
    crop_share: float = bounded(80 / 88, 0, 1, open_low=True)
    """Side of a crop as a share of the image's."""
    backgrounds: bool = True
    """Put noise, checkerboards and smooth textures behind the scene; needs a black background of its own."""
