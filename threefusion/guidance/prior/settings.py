"""Settings of the built-in priors."""

from __future__ import annotations

import os
from dataclasses import MISSING, dataclass
from typing import ClassVar, Literal

from threefusion.config.fields import Schedule, Settings, bounded, check_color, located
from threefusion.guidance.prior.models import local_folder
from threefusion.registry import component


@dataclass(frozen=True)
class LoraFile(Settings):
    """A LoRA that is added to the model's weights."""

    path: str = located(MISSING)
    """A safetensors file, as kohya, peft or diffusers write it."""
    scale: float = bounded(1.0, -100, 100)
    """Factor of the change beside alpha / rank; 0 leaves the model as it is."""


@dataclass(frozen=True)
class PretrainedConfig(Settings):
    """A pretrained pipeline."""

    model: str = "toyworld-pixel"
    """A local folder in the layout of diffusers, a single safetensors file, a hub id, or an alias (`doctor` lists them)."""
    single_file_config: str | None = None
    """For a single file: the model, a folder or an alias, whose settings and tokenizer it has; by default by its layout."""
    revision: str | None = None
    """Commit, tag or branch of a hub id; an alias has a pinned one, a local folder has none."""
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """Precision of the U-Net; auto is float16 on a GPU and bfloat16 on processors that have it in hardware."""
    image_size: int | None = bounded(None, 8, 4096)
    """Height and width in pixels that images are resized to for the prior; by default its training size."""
    execution: Literal["auto", "eager", "compile", "openvino", "cuda-graph"] = "auto"
    """How networks run: eager, through torch.compile, on OpenVINO (CPU), as CUDA graphs; auto is eager, or OpenVINO if faster."""
    offload: bool = False
    """Keep the networks in main memory and copy their weights to the accelerator for each call: less memory, more time."""

    lora: tuple[LoraFile, ...] = ()
    """LoRA files that are added to the networks' weights, each `{path: FILE, scale: NUMBER}`."""
    textual_inversion: tuple[str, ...] = located(())
    """Safetensors files, each of which adds a token to the vocabulary of prompts."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.offload and self.execution not in ("auto", "eager"):
            raise ValueError(f"offload: only with execution eager, not {self.execution}")
        if not self.model:
            raise ValueError("model: a folder, a hub id or an alias")
        if self.revision and local_folder(self.model):
            raise ValueError("revision: a local folder has none, nor has a bundled model")
        for field in ("model", "single_file_config"):
            if os.path.exists(path := os.path.expanduser(getattr(self, field) or "")):
                # so that a run is resumed from anywhere
                object.__setattr__(self, field, os.path.abspath(path))


@dataclass(frozen=True)
class CriticConfig(Settings):
    """A trainable copy of a prior's predictor. `gaussian` has one with a mean colour and a standard deviation, without LoRA."""

    lr: Schedule = bounded(Schedule.constant(1e-4), 0, 1e3)
    """Learning rate; `optimizer.groups` and `optimizer.schedule` do not change it."""
    rank: int = bounded(4, 1, 4096)
    """Rank of LoRA, in every linear layer of the network's attention blocks."""
    alpha: float | None = bounded(None, 0, 1e6, open_low=True)
    """LoRA is scaled by alpha / rank; by default alpha is the rank."""
    camera: bool = True
    """Condition the critic on the camera, through two layers that are added to the network's embedding of the time."""
    camera_dropout: float = bounded(0.1, 0, 1)
    """Share of the critic's training without the camera."""


@component("prior", "pixel", "threefusion.guidance.prior.pixel:PixelPrior")
@dataclass(frozen=True)
class PixelConfig(PretrainedConfig):
    """A pretrained pipeline over pixels."""


@component("prior", "super-resolution", "threefusion.guidance.prior.super_resolution:SuperResolutionPrior")
@dataclass(frozen=True)
class SuperResolutionConfig(PretrainedConfig):
    """A pretrained pipeline that enlarges pixels, for a scene that has its shape already."""

    model: str = "deepfloyd-if-ii-l"
    """A local folder in the layout of diffusers, a hub id, or an alias (`doctor` lists them)."""
    upscale: int = bounded(4, 2, 64)
    """How many times higher the model's resolution is than that of its low-resolution image; 4 in DeepFloyd IF."""
    noise_level: int = bounded(250, 0, 10**6)
    """Timestep to which the low-resolution image is noised; more lets the model change more. 250 is diffusers' default."""
    of_start: bool = False
    """The low-resolution image is that of the scene which the stage started from, as in CasTex (arXiv 2504.06856), instead of the
    render's own: it holds the training near its start."""


@dataclass(frozen=True)
class ControlNet(Settings):
    """A ControlNet beside the U-Net."""

    model: str = "controlnet-depth"
    """A local folder in the layout of diffusers, a hub id, or an alias (`doctor` lists them)."""
    what: Literal["depth", "normal", "normal-bae"] = "depth"
    """What it is given of the render: inverse depth, or normals in the camera's axes with red to the right, or to the left as in
    ControlNet 1.1."""
    scale: float = bounded(1.0, -100, 100)
    """Factor of what it adds to the U-Net."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if os.path.isdir(folder := os.path.expanduser(self.model)):
            object.__setattr__(self, "model", os.path.abspath(folder))


@dataclass(frozen=True)
class ReferencePicture(Settings):
    """A picture that the U-Net attends to beside the text, through an IP-Adapter."""

    image: str = located(MISSING)
    """The picture; transparent parts are taken for white."""
    adapter: str = located(MISSING)
    """The adapter's safetensors file."""
    image_encoder: str = located(MISSING)
    """The folder of the CLIP image encoder that the adapter was trained with."""
    scale: float = bounded(1.0, -100, 100)
    """Factor of the attention to the picture."""


@component("prior", "latent", "threefusion.guidance.prior.latent:LatentPrior")
@dataclass(frozen=True)
class LatentConfig(PretrainedConfig):
    """A pretrained pipeline over latents."""

    merges_tokens: ClassVar[bool] = True
    """Whether the network is a U-Net whose attention spans one image."""

    model: str = "toyworld-latent"
    """A local folder in the layout of diffusers, a hub id, or an alias (`doctor` lists them)."""
    posterior: Literal["mode", "sample"] = "mode"
    """An image's latents: the posterior's mode, or a sample of it."""
    gradient_checkpointing: bool = False
    """Recompute the encoder's activations in the backward pass: less memory, more time."""
    autoencoder: str | None = None
    """Another autoencoder of the same latents, in place of the model's: a folder, a hub id or an alias, such as `taesd`."""
    autoencoder_dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """Precision of the autoencoder; auto is the U-Net's on a GPU, but float32 where it would overflow, and on the CPU."""
    token_merging: float = bounded(0.0, 0, 0.75)
    """Share of the tokens that are merged with similar ones in the self-attention over the largest map, an approximation."""
    control: tuple[ControlNet, ...] = ()
    """ControlNets that see the scene's depth or normals, each `{model: MODEL, what: depth, scale: NUMBER}`."""
    reference: tuple[ReferencePicture, ...] = ()
    """Pictures to attend to through IP-Adapters, each `{image: FILE, adapter: FILE, image_encoder: FOLDER, scale: NUMBER}`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.gradient_checkpointing and self.execution not in ("auto", "eager"):
            raise ValueError(f"gradient_checkpointing: only with execution eager, not {self.execution}")
        if self.gradient_checkpointing and self.offload:
            # what is computed again in the backward pass would find the weights back in main memory
            raise ValueError("gradient_checkpointing: not together with offload")
        if os.path.isdir(folder := os.path.expanduser(self.autoencoder or "")):
            object.__setattr__(self, "autoencoder", os.path.abspath(folder))
        if self.token_merging and not self.merges_tokens:
            raise ValueError("token_merging: for U-Nets whose attention spans one image")
        if self.control and type(self) is not LatentConfig:
            raise ValueError("control: ControlNets are for the prior latent")
        if self.reference and (self.control or type(self) is not LatentConfig):
            raise ValueError("reference: IP-Adapters are for the prior latent, without control")


@component("prior", "multi-view", "threefusion.guidance.prior.multi_view:MultiViewPrior")
@dataclass(frozen=True)
class MultiViewConfig(LatentConfig):
    """A pretrained pipeline over the latents of several views around the object at once."""

    merges_tokens: ClassVar[bool] = False

    model: str = "mvdream"
    """A local folder in the layout of diffusers, a hub id, or an alias (`doctor` lists them)."""
    views: int = bounded(4, 2, 64)
    """Views that the model denoises jointly, as many as in its training; `camera.group_size` has to be a multiple."""


@component("prior", "flow", "threefusion.guidance.prior.flow:FlowPrior")
@dataclass(frozen=True)
class FlowConfig(LatentConfig):
    """A pretrained pipeline over latents with a transformer, trained as a rectified flow: Stable Diffusion 3, FLUX.1."""

    merges_tokens: ClassVar[bool] = False

    model: str = "stable-diffusion-3-medium"
    """A local folder in the layout of diffusers, a hub id, or an alias (`doctor` lists them)."""
    states: Literal["flow", "variance-preserving"] = "flow"
    """Noised states: (1 - s) x + s noise as in training, or scaled to variance 1 as those of other priors; exact both ways."""
    text_tokens: int | None = bounded(None, 1, 512)
    """Tokens that T5 reads; by default 256 for Stable Diffusion 3 and 512 for FLUX.1, whose schnell was trained with 256."""
    embedded_guidance: float | None = bounded(None, 0, 1e3)
    """The guidance scale that FLUX.1 dev was distilled with as an input, 3.5 by default; 1 is its plain prediction."""


@component("prior", "image-conditioned", "threefusion.guidance.prior.image_conditioned:ImageConditionedPrior")
@dataclass(frozen=True)
class ImageConditionedConfig(LatentConfig):
    """A pretrained pipeline over latents that is given a picture of the object from another side, and no text."""

    model: str = "zero123-xl"
    """A local folder in the layout of diffusers, a hub id, or an alias (`doctor` lists them)."""
    image: str = located(MISSING)
    """The reference picture, seen from the pose below; transparent parts are taken for white."""
    elevation_deg: float = bounded(0.0, -90, 90)
    """Elevation of the reference's camera above the horizon."""
    azimuth_deg: float = bounded(0.0, -360, 360)
    """Azimuth of the reference's camera; 0 is the front (+x)."""
    distance: float = bounded(2.0, 1e-3, 1e3)
    """Distance of the reference's camera from the origin."""
    pose: Literal["auto", "distance", "polar"] = "auto"
    """Last number of the relative pose: the difference in distance, or the reference's polar angle (Stable Zero123); by default
    the model's name decides."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.autoencoder:
            raise ValueError("autoencoder: the reference picture's latents are those of the model's own")
        if self.textual_inversion:
            raise ValueError("textual_inversion: a prior that is conditioned on a picture reads no text")

    @property
    def polar(self) -> bool:
        """Whether the relative pose ends with the reference's polar angle."""
        return self.pose == "polar" or (self.pose == "auto" and "stable" in os.path.basename(self.model).lower())


@dataclass(frozen=True)
class ClosedFormConfig(Settings):
    """A distribution over images whose noise is predicted exactly."""

    std: float = bounded(0.4, 0, 1e6, open_low=True)
    """Standard deviation of every channel of every pixel with a prompt, in units of [-1, 1]."""
    uncond_std: float = bounded(0.4, 0, 1e6, open_low=True)
    """Standard deviation without a prompt; below `std`, a large guidance scale has no fixed point."""
    image_size: int = bounded(32, 1, 4096)
    """Height and width in pixels."""
    beta_schedule: Literal["linear", "scaled_linear", "squaredcos_cap_v2"] = "squaredcos_cap_v2"
    """Noise schedule over 1000 timesteps, by diffusers' names; squaredcos_cap_v2 is DeepFloyd's."""


@component("prior", "gaussian", "threefusion.guidance.prior.gaussian:GaussianPrior")
@dataclass(frozen=True)
class GaussianConfig(ClosedFormConfig):
    """A Gaussian over images: every pixel independent, around one colour."""

    mean: tuple[float, float, float] = bounded((0.8, 0.3, 0.2), -10, 10)
    """Mean colour of images with a prompt, red, green and blue in [0, 1]."""
    uncond_mean: tuple[float, float, float] = bounded((0.5, 0.5, 0.5), -10, 10)
    """Mean colour of images without a prompt; guidance at scale s moves the optimum to uncond_mean + s (mean - uncond_mean)."""


@component("prior", "mixture", "threefusion.guidance.prior.mixture:MixturePrior")
@dataclass(frozen=True)
class MixtureConfig(ClosedFormConfig):
    """Several Gaussians over images, equally likely, each around one colour."""

    std: float = bounded(0.2, 0, 1e6, open_low=True)
    modes: tuple[str, ...] = ("#d9402b", "#2b5fd9")
    """Colours of images with a prompt, as `#rrggbb`."""
    uncond_modes: tuple[str, ...] = ("#808080",)
    """Colours of images without a prompt, as `#rrggbb`."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for field in ("modes", "uncond_modes"):
            if not getattr(self, field):
                raise ValueError(f"{field}: expected at least one colour")
            for color in getattr(self, field):
                check_color(field, color)
