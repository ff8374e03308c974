"""Rectified flow over the latents of an autoencoder with a transformer, shaped as Stable Diffusion 3 and FLUX.1."""

from __future__ import annotations

from functools import cached_property
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from threefusion.guidance.prior.autoencoder import downsampling
from threefusion.guidance.prior.conditioning import Conditioning
from threefusion.guidance.prior.files import ModelError
from threefusion.guidance.prior.flux import Flux
from threefusion.guidance.prior.latent import LatentPrior
from threefusion.guidance.prior.model_settings import ModelSettings
from threefusion.guidance.prior.models import NETWORKS
from threefusion.guidance.prior.prior import TextEncoder
from threefusion.guidance.prior.reading import stored_dtype
from threefusion.guidance.prior.schedule import NoiseSchedule, RectifiedFlow, VariancePreservingFlow
from threefusion.guidance.prior.scheduler import is_flow, read_schedule, read_target
from threefusion.guidance.prior.sd3 import StableDiffusion3
from threefusion.guidance.prior.settings import FlowConfig
from threefusion.guidance.prior.transformer import Transformer

TRANSFORMERS: dict[str, type[Transformer]] = {
    "SD3Transformer2DModel": StableDiffusion3,
    "FluxTransformer2DModel": Flux,
}
"""By the class of the network in diffusers."""


class FlowPrior(LatentPrior):
    """A transformer over scaled latents that was trained as a rectified flow."""

    parts: ClassVar[tuple[str, ...]] = NETWORKS["flow"]
    cfg: FlowConfig

    def check_settings(self, part: str, settings: ModelSettings) -> None:
        """Check that the transformer is one of a known kind, takes the latents, and was trained as a flow.

        Raises:
            ModelError: as in the base class, or it is not.
        """
        if part == "transformer":
            kind = self.kind(settings)
            size = self.cfg.image_size // downsampling(self.settings("vae")) if self.cfg.image_size else kind.sample_size
            if size % kind.patch:
                multiple = downsampling(self.settings("vae")) * kind.patch
                raise ModelError(f"guidance.prior.image_size: expected a multiple of {multiple}, not {self.cfg.image_size}")
            kind.check_size(size)
        elif part == "scheduler":
            if not is_flow(settings):
                raise settings.error("_class_name", "expected flow matching, as transformers are trained with")
            read_schedule(settings, self.image_tokens)
            read_target(settings)
        else:
            super().check_settings(part, settings)

    def kind(self, settings: ModelSettings) -> Transformer:
        """The transformer's kind, by its settings."""
        return TRANSFORMERS[settings["_class_name"]](settings, self.settings("vae")["latent_channels"], self.cfg)

    @cached_property
    def transformer(self) -> Transformer:
        """The kind of the model's transformer."""
        return self.kind(self.settings("transformer"))

    @property
    def sample_size(self) -> int:
        """Height and width of the latents that the transformer was trained at."""
        return self.transformer.sample_size

    @property
    def image_tokens(self) -> int:
        """Patches of one image."""
        return (self.shape[1] // self.transformer.patch) ** 2

    def read_schedule(self) -> NoiseSchedule:
        """The flow of the pipeline's scheduler, in the configured states."""
        flow = read_schedule(self.settings("scheduler"), self.image_tokens)
        assert isinstance(flow, RectifiedFlow)
        return VariancePreservingFlow(flow) if self.cfg.states == "variance-preserving" else flow

    def largest_layer(self, views: int) -> int:
        """The autoencoder's, or the transformer's feed-forward layers, four times as wide as the others, under two conditions."""
        transformer = 2 * views * self.image_tokens * 4 * self.transformer.width
        return max(transformer, self.largest_encoder_layer(views))

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the transformer; `auto` on accelerators is the half precision that it was published in."""
        if self.cfg.dtype == "auto" and self.device.type != "cpu" and self.published_dtype != torch.float32:
            return self.published_dtype
        return super().dtype

    @cached_property
    def published_dtype(self) -> torch.dtype:
        """The precision of the transformer's file."""
        return stored_dtype(self.folder / self.parts[0])

    def _predict(self, z: Float[Tensor, "B C h w"], t: Float[Tensor, "B"], condition: Conditioning) -> Float[Tensor, "B C h w"]:
        """The transformer's output; in variance-preserving states their own velocity."""
        if not isinstance(self.schedule, VariancePreservingFlow):
            return super()._predict(z, t, condition)
        output = super()._predict(self.schedule.to_flow(z, t), t, condition)
        return self.schedule.velocity(z, output, t) if self.target == "velocity" else output

    def network_inputs(
        self, z: Float[Tensor, "B C h w"], t: Float[Tensor, "B"], condition: Conditioning
    ) -> tuple[Float[Tensor, "B D h w"], Tensor, *tuple[Tensor, ...]]:
        """Noised latents, timesteps, tokens, pooled text, and what else the kind of transformer takes."""
        assert condition.pooled is not None
        image, tokens, pooled = (value.to(self.dtype) for value in (z, condition.tokens, condition.pooled))
        return image, self.schedule.timesteps(t), tokens, pooled, *self.transformer.further(len(z), z.device)

    def denoiser(self) -> nn.Module:
        """The transformer as a module that takes `network_inputs` in order."""
        return self.transformer.module(self.network(self.parts[0], self.dtype))

    def text_encoder(self) -> TextEncoder:
        """The text encoders of the same pipeline as one."""
        tokens = self.cfg.text_tokens or self.transformer.tokens
        encoder = self.read_text_encoder(self.transformer.text_encoder, tokens=tokens)
        self.transformer.check_text(encoder)
        return encoder
