"""Diffusion over pixels, shaped as stage I of DeepFloyd IF."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from threefusion.guidance.prior.image import channels_first, channels_last, resize
from threefusion.guidance.prior.model_settings import ModelSettings
from threefusion.guidance.prior.pretrained import PretrainedPrior
from threefusion.guidance.prior.reading import read_weights
from threefusion.guidance.prior.small_unet import SmallUNet, fits


class PixelPrior(PretrainedPrior):
    """A U-Net over images in [-1, 1] with three or six output channels, conditioned on T5 embeddings."""

    def check_settings(self, part: str, settings: ModelSettings) -> None:
        """Check also that the U-Net works on pixels.

        Raises:
            ModelError: as in the base class, or the U-Net does not take three channels.
        """
        if part == "unet" and settings["in_channels"] != (expected := 3 + self.image_channels):
            if (self.folder / "vae").is_dir():
                raise settings.error("in_channels", "the U-Net works on latents; use the prior `latent`")
            raise settings.error("in_channels", f"expected {expected}; upscalers are for the prior `super-resolution`")
        super().check_settings(part, settings)

    def stored_network(self, part: str, dtype: torch.dtype | None) -> nn.Module:
        """The U-Net; that of the bundled models without diffusers, which takes seconds to import."""
        if dtype is not None or not fits(self.settings(part)):
            return super().stored_network(part, dtype)
        with torch.device("meta"):
            network = SmallUNet(self.settings(part))
        return read_weights(network, self.folder / part)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Three channels at the U-Net's training size, unless configured otherwise."""
        size = self.cfg.image_size or self.sample_size
        return (3, size, size)

    def encode(self, rgb: Float[Tensor, "B H W 3"], noise: Float[Tensor, "B C h w"] | None = None) -> Float[Tensor, "B C h w"]:
        """Colours at the prior's size, mapped to [-1, 1]."""
        return channels_first(resize(rgb.float(), self.shape[1]))

    def decode(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B H W 3"]:
        """[-1, 1] mapped to colours."""
        return channels_last(x)
