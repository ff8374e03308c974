"""FLUX.1: a transformer over latents packed into tokens of 2 by 2, T5's tokens, and CLIP's text as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from threefusion.guidance.prior.conditioning import Conditioning
from threefusion.guidance.prior.files import ModelError
from threefusion.guidance.prior.lora import Lora
from threefusion.guidance.prior.model_settings import ModelSettings
from threefusion.guidance.prior.settings import FlowConfig
from threefusion.guidance.prior.text_encoder import LONGEST, PretrainedTextEncoder
from threefusion.guidance.prior.textual_inversion import TextualInversion
from threefusion.guidance.prior.transformer import Transformer

GUIDANCE = 3.5
"""The guidance scale that FLUX.1 dev was published with."""


class FluxNetwork(nn.Module):
    """The transformer over latents in rows and columns."""

    def __init__(self, transformer: nn.Module) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(
        self,
        z: Float[Tensor, "B C h w"],
        timesteps: Float[Tensor, "B"],
        tokens: Float[Tensor, "B L D"],
        pooled: Float[Tensor, "B P"],
        guidance: Float[Tensor, "B"] | None = None,
        **options: Any,
    ) -> tuple[Float[Tensor, "B C h w"]]:
        """The predicted velocity."""
        packed = pixel_unshuffle(z, 2)
        rows, columns = packed.shape[2:]
        positions = torch.cartesian_prod(*(torch.arange(length, device=z.device) for length in (1, rows, columns))).float()
        output = self.transformer(
            packed.flatten(2).mT.contiguous(),
            tokens,
            pooled,
            timesteps / 1000,  # the network multiplies
            img_ids=positions,
            txt_ids=positions.new_zeros(tokens.shape[1], 3),
            guidance=guidance,
            **options,
        )[0]
        return (pixel_shuffle(output.mT.unflatten(2, (rows, columns)), 2),)


class FluxTextEncoder(PretrainedTextEncoder):
    """T5's tokens, padding included, and CLIP's text as a whole."""

    def __init__(
        self, folder: Path, loras: Sequence[Lora] = (), inversions: Sequence[TextualInversion] = (), tokens: int = 512
    ) -> None:
        super().__init__(folder, loras, inversions, (LONGEST, tokens))
        for network, kind in zip(self.networks, ("clip_text_model", "t5"), strict=True):
            if network.kind != kind or network.projected:
                raise ModelError(f"{network.encoder / 'config.json'}: expected {kind} without a projection")

    @property
    def width(self) -> int:
        """Numbers per token, of T5."""
        return self.networks[1].width

    @property
    def pooled_width(self) -> int:
        """Of CLIP."""
        return self.networks[0].width

    def encode(self, texts: list[str]) -> Conditioning:
        """T5's last hidden states and CLIP's pooled output.

        Raises:
            ModelError: a tokenizer or a network cannot be read, or they do not belong together.
        """
        clip, t5 = self.networks
        pooled, tokens = clip.run(texts, warn=False).pooler_output, t5.run(texts).last_hidden_state
        return Conditioning(tokens.float().clone(), pooled.float().clone())


class Flux(Transformer):
    """`FluxTransformer2DModel`, of FLUX.1 dev and schnell."""

    text_encoder = FluxTextEncoder
    tokens = 512
    patch = 2
    sample_size = 128  # which its settings do not say

    def __init__(self, settings: ModelSettings, channels: int, cfg: FlowConfig) -> None:
        super().__init__(settings, channels, cfg)
        settings.refuse("patch_size", (1,), "expected 1: latents are packed before the network")
        if cfg.embedded_guidance is not None and not settings["guidance_embeds"]:
            problem = "the network takes no guidance scale; expected guidance.prior.embedded_guidance=null"
            raise settings.error("guidance_embeds", problem)

    def in_channels(self, channels: int) -> int:
        """A token is all channels of four latents."""
        return 4 * channels

    def check_size(self, size: int) -> None:
        """Any will do: positions are angles, not a table."""

    def module(self, network: nn.Module) -> nn.Module:
        """Packed and unpacked around the network."""
        return FluxNetwork(network)

    def further(self, batch: int, device: torch.device) -> tuple[Tensor, ...]:
        """The guidance scale, for a network that was distilled with it."""
        if not self.settings["guidance_embeds"]:
            return ()
        scale = GUIDANCE if self.cfg.embedded_guidance is None else self.cfg.embedded_guidance
        return (torch.full((batch,), scale, device=device),)
