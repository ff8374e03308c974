"""Diffusion over the latents of an autoencoder, shaped as Stable Diffusion."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from threefusion.guidance.prior.autoencoder import check_autoencoder, downsampling, first_channels, normalisation
from threefusion.guidance.prior.conditioning import Conditioning, PromptConditioning
from threefusion.guidance.prior.control import ControlledUNet, control_image, control_name, read_control
from threefusion.guidance.prior.files import ModelError
from threefusion.guidance.prior.image import channels_first, channels_last, resize
from threefusion.guidance.prior.ip_adapter import AdaptedUNet, add_adapters, embedding
from threefusion.guidance.prior.known_models import NETWORKS
from threefusion.guidance.prior.model_settings import ModelSettings, check_text_width, model_settings
from threefusion.guidance.prior.models import resolve
from threefusion.guidance.prior.precision import HALF
from threefusion.guidance.prior.pretrained import PretrainedPrior
from threefusion.guidance.prior.prior import TextEncoder
from threefusion.guidance.prior.sdxl import SizedUNet, XLTextEncoder, check_sizes, image_sizes, is_sized
from threefusion.guidance.prior.settings import LatentConfig
from threefusion.guidance.prior.token_merging import merge_tokens
from threefusion.types import RenderOutput, ViewBatch, Want


class LatentPrior(PretrainedPrior):
    """A U-Net over scaled latents of an autoencoder, conditioned on CLIP embeddings: Stable Diffusion 1, 2 and XL.

    The gradient of an image flows through the frozen encoder.
    """

    parts: ClassVar[tuple[str, ...]] = NETWORKS["latent"]
    takes_sizes: ClassVar[bool] = True
    cfg: LatentConfig

    def __init__(self, cfg: LatentConfig) -> None:
        super().__init__(cfg)
        self.reads_render = bool(cfg.control)

    @property
    def stochastic_encoder(self) -> bool:
        """Whether latents are sampled from the posterior."""
        return self.cfg.posterior == "sample"

    def folder_of(self, part: str) -> Path:
        """As in the base class; another autoencoder's own."""
        if part == "vae" and self.cfg.autoencoder:
            return resolve(self.cfg.autoencoder, NETWORKS["autoencoder"])
        return super().folder_of(part)

    def read_settings(self, part: str) -> ModelSettings:
        """As in the base class; another autoencoder's own."""
        if part == "vae" and self.cfg.autoencoder:
            return model_settings(self.folder_of(part), part, alone=True)
        return super().read_settings(part)

    def check_settings(self, part: str, settings: ModelSettings) -> None:
        """Check also that the autoencoder has what the config asks of it, and that the U-Net takes its latents.

        Raises:
            ModelError: as in the base class, or they do not fit.
        """
        if part == "vae":
            check_autoencoder(settings)
            tiny = settings["_class_name"] == "AutoencoderTiny"
            if tiny and self.stochastic_encoder:
                raise settings.error("_class_name", "it has no posterior; expected guidance.prior.posterior=mode")
            if tiny and self.cfg.gradient_checkpointing:
                # diffusers' own checkpointing leaves out the scaling of the image in this class
                raise settings.error("_class_name", "expected guidance.prior.gradient_checkpointing=false")
            if self.cfg.autoencoder_dtype == "float16" and settings.get("force_upcast"):
                problem = "it overflows in float16; expected guidance.prior.autoencoder_dtype=bfloat16, float32 or auto"
                raise settings.error("force_upcast", problem)
            if (size := self.cfg.image_size) and size % downsampling(settings):
                raise ModelError(f"guidance.prior.image_size: expected a multiple of {downsampling(settings)}, not {size}")
        if part == "unet":
            expected = self.settings("vae")["latent_channels"] + self.image_channels
            problem = f"expected {expected}, as the autoencoder has; a U-Net that takes another image is not supported"
            settings.refuse("in_channels", (expected,), problem)
        super().check_settings(part, settings)
        if part == "unet" and is_sized(settings):
            check_sizes(settings, self.folder)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Latent channels and size: an eighth of the image in Stable Diffusion."""
        vae = self.settings("vae")
        size = self.cfg.image_size // downsampling(vae) if self.cfg.image_size else self.sample_size
        return (vae["latent_channels"], size, size)

    @property
    def image_size(self) -> int:
        """Height and width of the images that are encoded."""
        return self.shape[1] * downsampling(self.settings("vae"))

    def largest_layer(self, views: int) -> int:
        """The U-Net's, or the autoencoder's."""
        return max(super().largest_layer(views), self.largest_encoder_layer(views))

    def largest_encoder_layer(self, views: int) -> int:
        """The autoencoder's first layer, at image resolution."""
        return views * first_channels(self.settings("vae")) * self.image_size**2

    def load(self) -> None:
        """Load the networks, ControlNets included."""
        super().load()
        for index, control in enumerate(self.cfg.control):
            if control_name(index) not in self._networks:
                self._networks[control_name(index)] = self.frozen(read_control(control.model, self.settings("unet")))

    @property
    def wants(self) -> Want:
        """Normals, if a ControlNet is given them."""
        return Want(normals=any(control.what != "depth" for control in self.cfg.control))

    def condition(self, prompt: PromptConditioning, views: ViewBatch, render: RenderOutput | None) -> PromptConditioning:
        """Every condition with the control images."""
        if self.cfg.reference:
            return self.with_pictures(prompt, len(views))
        if not self.cfg.control:
            return prompt
        assert render is not None, "reads_render"
        images = [control_image(control.what, render, views.camera, self.image_size) for control in self.cfg.control]
        return prompt.map(lambda condition: replace(condition, control=torch.cat(images, 1)))

    def with_pictures(self, prompt: PromptConditioning, count: int) -> PromptConditioning:
        """Every condition with the embeddings of the reference pictures; zeros for the empty and for negative prompts."""
        shown = self.pictures.to(prompt.text.tokens.device).expand(count, -1, -1)
        given = prompt.map(lambda condition: replace(condition, reference=shown))

        def hidden(condition: Conditioning) -> Conditioning:
            return replace(condition, reference=torch.zeros_like(shown))

        return replace(given, uncond=hidden(prompt.uncond), negatives=tuple(map(hidden, prompt.negatives)))

    @cached_property
    def pictures(self) -> Float[Tensor, "1 R P"]:
        """The embeddings of the reference pictures."""
        return torch.cat([embedding(reference) for reference in self.cfg.reference], 1)

    def stored_network(self, part: str, dtype: torch.dtype | None) -> nn.Module:
        """A network as its file has it; the U-Net with IP-Adapters.

        Raises:
            ModelError: also if an adapter does not belong to the U-Net.
        """
        network = super().stored_network(part, dtype)
        if part == "unet" and self.cfg.reference:
            if is_sized(self.settings("unet")):
                raise self.settings("unet").error("addition_embed_type", "IP-Adapters for Stable Diffusion XL are not supported")
            add_adapters(network, self.cfg.reference)
        if part == "unet" and self.cfg.token_merging:
            merge_tokens(network, self.cfg.token_merging, self.shape[1])
        return network

    def network_inputs(
        self, z: Float[Tensor, "B C h w"], t: Float[Tensor, "B"], condition: Conditioning
    ) -> tuple[Float[Tensor, "B D h w"], Tensor, *tuple[Tensor, ...]]:
        """As in the base class; then the pooled text and the image's size for Stable Diffusion XL, then control images."""
        inputs = super().network_inputs(z, t, condition)
        if is_sized(self.settings("unet")):
            assert condition.pooled is not None
            inputs = (*inputs, condition.pooled.to(self.dtype), image_sizes(self.image_size, len(z), z.device))
        if self.cfg.control:
            assert condition.control is not None
            inputs = (*inputs, condition.control.to(self.dtype, memory_format=torch.channels_last))
        if self.cfg.reference:
            assert condition.reference is not None
            inputs = (*inputs, condition.reference.to(self.dtype))
        return inputs

    def denoiser(self) -> nn.Module:
        """The U-Net as a module that takes `network_inputs` in order."""
        unet = super().denoiser()
        if self.cfg.reference:
            return AdaptedUNet(unet)
        if self.cfg.control:
            controls = [self.network(control_name(index), self.dtype) for index in range(len(self.cfg.control))]
            return ControlledUNet(unet, controls, [control.scale for control in self.cfg.control])
        return SizedUNet(unet) if is_sized(self.settings("unet")) else unet

    def text_encoder(self) -> TextEncoder:
        """CLIP of the same pipeline, both of them for Stable Diffusion XL."""
        if not is_sized(self.settings("unet")):
            return super().text_encoder()
        encoder = self.read_text_encoder(XLTextEncoder)
        check_text_width(self.settings("unet"), encoder.width)
        return encoder

    def encode(self, rgb: Float[Tensor, "B H W 3"], noise: Float[Tensor, "B C h w"] | None = None) -> Float[Tensor, "B C h w"]:
        """Scaled latents of the images at the prior's size: the posterior's mode, moved by `noise` if there is any."""
        image = channels_first(resize(rgb.float(), self.image_size)).to(self.vae_dtype, memory_format=torch.channels_last)
        output = self.run("encoder", self.encoder, image).float()
        latents = output[:, : self.shape[0]]
        if noise is not None:
            log_variance = output[:, self.shape[0] :]
            # the bounds of diffusers' posterior
            latents = latents + (0.5 * log_variance.clamp(-30, 20)).exp() * noise
        shift, scale = self.shift_and_scale()
        return (latents - shift) * scale

    def decode(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B H W 3"]:
        """The images of scaled latents, decoded on the device that stores the autoencoder."""
        shift, scale = self.shift_and_scale()
        with torch.autocast(self.storage.type, enabled=False):
            image = self.vae().decode((x / scale + shift).to(self.storage, self.vae_dtype)).sample
        return channels_last(image.float().to(x.device))

    def shift_and_scale(self) -> tuple[float | Tensor, float | Tensor]:
        """Shift and factor that normalise latents; `[1 C 1 1]` where the autoencoder's settings have them for each channel."""
        shift, scale = normalisation(self.settings("vae"))
        if isinstance(shift, float):
            return shift, scale
        return tuple(torch.tensor(value, device=self.device).view(1, -1, 1, 1) for value in (shift, scale))

    def vae(self) -> nn.Module:
        """The frozen autoencoder."""
        return self.network("vae", self.vae_dtype)

    def encoder(self) -> nn.Module:
        """The encoder alone, which losses differentiate: images to means and log variances `[B 2C h w]`, or just to latents."""
        vae = self.vae()
        if self.cfg.gradient_checkpointing:
            vae.enable_gradient_checkpointing()
        return nn.Sequential(vae.encoder, getattr(vae, "quant_conv", None) or nn.Identity())

    @property
    def vae_dtype(self) -> torch.dtype:
        """The autoencoder's precision; `auto` is float32 on the CPU, on accelerators that of the U-Net unless this is float16 and
        the autoencoder's settings say that it would overflow."""
        if self.cfg.autoencoder_dtype != "auto":
            return HALF[self.cfg.autoencoder_dtype]
        overflows = self.dtype == torch.float16 and self.settings("vae").get("force_upcast", False)
        return torch.float32 if overflows or self.device.type == "cpu" else self.dtype
