"""Stable Diffusion 3: a transformer over patches of latents, and three text encoders of which T5 may be missing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad

from threefusion.guidance.prior.conditioning import Conditioning
from threefusion.guidance.prior.files import ModelError, read_settings, text_parts
from threefusion.guidance.prior.lora import Lora
from threefusion.guidance.prior.text_encoder import LONGEST, PretrainedTextEncoder
from threefusion.guidance.prior.textual_inversion import TextualInversion
from threefusion.guidance.prior.transformer import Transformer


class SD3Network(nn.Module):
    """The transformer with its conditions in order."""

    def __init__(self, transformer: nn.Module) -> None:
        super().__init__()
        self.transformer = transformer

    def forward(
        self,
        z: Float[Tensor, "B C h w"],
        timesteps: Float[Tensor, "B"],
        tokens: Float[Tensor, "B L D"],
        pooled: Float[Tensor, "B P"],
        **options: Any,
    ) -> Any:
        """The predicted velocity, in diffusers' output."""
        return self.transformer(z, tokens, pooled, timesteps, **options)


class SD3TextEncoder(PretrainedTextEncoder):
    """The penultimate layers of two CLIP encoders side by side, then T5's tokens; both CLIPs' projected texts as the whole."""

    def __init__(
        self, folder: Path, loras: Sequence[Lora] = (), inversions: Sequence[TextualInversion] = (), tokens: int = 256
    ) -> None:
        has_t5 = "text_encoder_3" in text_parts(folder)
        super().__init__(folder, loras, inversions, (LONGEST, LONGEST, *((tokens,) if has_t5 else ())))
        self.tokens = tokens
        self.t5_width = read_settings(folder / "transformer" / "config.json").get("joint_attention_dim", 4096)
        self.key += f"/{tokens}/{self.t5_width}"
        for network, kind in zip(self.networks, ("clip_text_model", "clip_text_model", "t5"), strict=False):
            if network.kind != kind or (kind != "t5" and not network.projected):
                raise ModelError(f"{network.encoder / 'config.json'}: expected {kind}, the two CLIPs with a projection")

    @property
    def width(self) -> int:
        """Numbers per token: of T5, or of the zeros in its place; those of CLIP are padded with zeros."""
        t5 = self.networks[2].width if len(self.networks) > 2 else self.t5_width
        return max(t5, sum(network.width for network in self.networks[:2]))

    @property
    def pooled_width(self) -> int:
        """Of both CLIPs."""
        return sum(network.projection for network in self.networks[:2])

    def encode(self, texts: list[str]) -> Conditioning:
        """Tokens of CLIP and T5 one after the other; zeros in the place of a T5 that the pipeline does not have.

        Raises:
            ModelError: a tokenizer or a network cannot be read, or they do not belong together.
        """
        last = self.networks[-1]
        first, second = (network.run(texts, layers=True, warn=network is last) for network in self.networks[:2])
        clip = torch.cat([output.hidden_states[-2].float() for output in (first, second)], dim=-1)
        if last.kind == "t5":
            long = last.run(texts).last_hidden_state.float()
        else:
            long = torch.zeros(len(texts), self.tokens, self.width)
        pooled = torch.cat([output.text_embeds.float() for output in (first, second)], dim=-1)
        return Conditioning(torch.cat([pad(clip, (0, self.width - clip.shape[-1])), long], dim=1), pooled)


class StableDiffusion3(Transformer):
    """`SD3Transformer2DModel`, of Stable Diffusion 3 and 3.5."""

    text_encoder = SD3TextEncoder
    tokens = 256

    def in_channels(self, channels: int) -> int:
        """As many as the latents have."""
        return channels

    @property
    def patch(self) -> int:
        """Of its settings."""
        return self.settings.count("patch_size")

    @property
    def sample_size(self) -> int:
        """Of its settings."""
        return self.settings.count("sample_size")

    def check_size(self, size: int) -> None:
        """Check that there are positions for all patches.

        Raises:
            ModelError: the image is too large.
        """
        if size // self.patch > self.settings.count("pos_embed_max_size"):
            problem = f"too few for {size // self.patch} x {size // self.patch} patches; set a smaller guidance.prior.image_size"
            raise self.settings.error("pos_embed_max_size", problem)

    def module(self, network: nn.Module) -> nn.Module:
        """Arguments in order."""
        return SD3Network(network)
