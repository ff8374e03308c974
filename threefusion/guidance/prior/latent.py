"""Diffusion over the latents of an autoencoder, shaped as Stable Diffusion."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from threefusion.guidance.prior.image import channels_first, channels_last, resize
from threefusion.guidance.prior.models import ModelError
from threefusion.guidance.prior.pretrained import PretrainedPrior
from threefusion.guidance.prior.settings import LatentConfig


class LatentPrior(PretrainedPrior):
    """A U-Net over scaled latents of an autoencoder, conditioned on CLIP embeddings.

    The gradient of an image flows through the frozen encoder.
    """

    parts: ClassVar[tuple[str, ...]] = ("unet", "scheduler", "vae")

    def __init__(self, cfg: LatentConfig) -> None:
        super().__init__(cfg)
        self.cfg = cfg

    @property
    def stochastic_encoder(self) -> bool:
        """Whether latents are sampled from the posterior."""
        return self.cfg.posterior == "sample"

    def check_settings(self, part: str, settings: dict[str, Any]) -> None:
        """Refuse a U-Net that does not fit the autoencoder."""
        super().check_settings(part, settings)
        if part == "unet" and settings["in_channels"] != self.settings("vae").get("latent_channels", 4):
            channels = settings["in_channels"]
            raise ModelError(f"{self.cfg.model}: its U-Net takes {channels} channels, which does not match its autoencoder")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Latent channels and size: an eighth of the image in Stable Diffusion."""
        vae = self.settings("vae")
        factor = 2 ** (len(vae["block_out_channels"]) - 1)
        size = self.cfg.image_size // factor if self.cfg.image_size else self.settings("unet")["sample_size"]
        return (vae.get("latent_channels", 4), size, size)

    @property
    def image_size(self) -> int:
        """Height and width of the images that are encoded."""
        return self.shape[1] * 2 ** (len(self.settings("vae")["block_out_channels"]) - 1)

    def largest_layer(self, views: int) -> int:
        """The U-Net's, or the autoencoder's first layer, which is at image resolution."""
        return max(super().largest_layer(views), views * self.settings("vae")["block_out_channels"][0] * self.image_size**2)

    def encode(self, rgb: Float[Tensor, "B H W 3"], noise: Float[Tensor, "B C h w"] | None = None) -> Float[Tensor, "B C h w"]:
        """Scaled latents of the images at the prior's size: the posterior's mode, moved by `noise` if there is any."""
        image = channels_first(resize(rgb.float(), self.image_size)).to(self.vae_dtype, memory_format=torch.channels_last)
        latents, log_variance = self.run("encoder", self.encoder, image).float().chunk(2, dim=1)
        if noise is not None:
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

    def shift_and_scale(self) -> tuple[float, float]:
        """Shift and factor that normalise latents, from the autoencoder's settings."""
        settings = self.settings("vae")
        return settings.get("shift_factor") or 0.0, settings.get("scaling_factor", 0.18215)

    def vae(self) -> nn.Module:
        """The frozen autoencoder."""
        return self.network("vae", self.vae_dtype)

    def encoder(self) -> nn.Module:
        """The encoder alone, which losses differentiate: images to means and log variances `[B 2C h w]`."""
        vae = self.vae()
        if self.cfg.gradient_checkpointing:
            vae.enable_gradient_checkpointing()
        return nn.Sequential(vae.encoder, vae.quant_conv if vae.quant_conv is not None else nn.Identity())

    @property
    def vae_dtype(self) -> torch.dtype:
        """The U-Net's precision on accelerators, unless the autoencoder's settings demand float32; float32 on the CPU."""
        forced = self.settings("vae").get("force_upcast", False)
        return torch.float32 if forced or self.device.type == "cpu" else self.dtype
