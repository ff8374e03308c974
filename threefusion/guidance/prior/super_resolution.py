"""Diffusion over pixels given the same image at a lower resolution, shaped as stage II of DeepFloyd IF."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from threefusion.guidance.prior.conditioning import Conditioning, PromptConditioning
from threefusion.guidance.prior.files import ModelError
from threefusion.guidance.prior.image import channels_first, resize
from threefusion.guidance.prior.known_models import NETWORKS
from threefusion.guidance.prior.model_settings import ModelSettings
from threefusion.guidance.prior.pixel import PixelPrior
from threefusion.guidance.prior.schedule import VariancePreserving
from threefusion.guidance.prior.scheduler import read_schedule
from threefusion.guidance.prior.settings import SuperResolutionConfig
from threefusion.types import RenderOutput, ViewBatch, Want


class SuperResolutionPrior(PixelPrior):
    """A U-Net over images in [-1, 1] that sees the render itself, or that of the scene before the training, downsampled,
    enlarged again and noised to a fixed level.

    It adds detail to a scene whose shape is there already; what the low resolution shows stays as it is.
    """

    parts: ClassVar[tuple[str, ...]] = NETWORKS["super-resolution"]
    image_channels: ClassVar[int] = 3
    class_embed_type: ClassVar[str | None] = "timestep"
    reads_render = True
    cfg: SuperResolutionConfig

    def check_settings(self, part: str, settings: ModelSettings) -> None:
        """Check also that there is such a noise level.

        Raises:
            ModelError: a field has a value that is not supported.
        """
        if part == "image_noising_scheduler":
            schedule = read_schedule(settings)
            if not isinstance(schedule, VariancePreserving):
                raise settings.error("_class_name", "expected a table of betas")
            if self.cfg.noise_level >= (length := len(schedule.alphas_cumprod)):
                raise ModelError(f"guidance.prior.noise_level: expected a timestep below {length}, not {self.cfg.noise_level}")
        else:
            super().check_settings(part, settings)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Three channels at the U-Net's training size, unless configured otherwise.

        Raises:
            ModelError: that is no multiple of `upscale`.
        """
        channels, size, _ = super().shape
        if size % self.cfg.upscale:
            raise ModelError(f"guidance.prior.upscale: expected a divisor of the image's size {size}, not {self.cfg.upscale}")
        return channels, size, size

    @property
    def wants(self) -> Want:
        """The scene that the stage started from, if its low-resolution image is wanted."""
        return Want(source=self.cfg.of_start)

    def condition(self, prompt: PromptConditioning, views: ViewBatch, render: RenderOutput | None) -> PromptConditioning:
        """Every condition with the low-resolution version of the render, the same under all of them."""
        assert render is not None, "reads_render"
        shown = render.source if self.cfg.of_start else render
        image = self.low_resolution(shown.image.detach(), views.randn("low-resolution", *self.shape))
        return prompt.map(lambda condition: replace(condition, image=image))

    def low_resolution(self, rgb: Float[Tensor, "B H W 3"], noise: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B 3 h w"]:
        """The images downsampled, enlarged as the pipeline does, and noised to `noise_level`."""
        small = channels_first(resize(rgb.float(), self.shape[1] // self.cfg.upscale))
        large = functional.interpolate(small, self.shape[1:], mode="bilinear", align_corners=True)
        alpha, sigma = self.noise_coefficients
        return alpha * large + sigma * noise

    @cached_property
    def noise_coefficients(self) -> tuple[float, float]:
        """(alpha, sigma) of the low-resolution image."""
        alpha_bar = read_schedule(self.settings("image_noising_scheduler")).alphas_cumprod[self.cfg.noise_level].double()
        return alpha_bar.sqrt().item(), (1 - alpha_bar).sqrt().item()

    def network_inputs(
        self, z: Float[Tensor, "B C h w"], t: Float[Tensor, "B"], condition: Conditioning
    ) -> tuple[Float[Tensor, "B D h w"], Tensor, *tuple[Tensor, ...]]:
        """The noised image beside the low-resolution one, time, tokens, and the noise level of the latter."""
        level = torch.full((len(z),), self.cfg.noise_level, device=z.device)
        return *super().network_inputs(torch.cat([z, condition.image], 1), t, condition), level
