"""What one kind of diffusion transformer has that others do not; the prior `flow` is written against this alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import torch
from torch import Tensor, nn

from threefusion.guidance.prior.model_settings import ModelSettings
from threefusion.guidance.prior.settings import FlowConfig
from threefusion.guidance.prior.text_encoder import PretrainedTextEncoder


class Transformer(ABC):
    """A kind of transformer over latents, by its settings.

    Raises:
        ModelError: they cannot be honoured, or do not fit latents of so many `channels`.
    """

    text_encoder: ClassVar[type[PretrainedTextEncoder]]
    """What turns a text into `tokens` and a pooled vector."""
    tokens: ClassVar[int]
    """Tokens of the long text encoder by default, as in diffusers' pipeline."""

    def __init__(self, settings: ModelSettings, channels: int, cfg: FlowConfig) -> None:
        self.settings, self.cfg = settings, cfg
        expected = self.in_channels(channels)
        settings.refuse("in_channels", (expected,), f"expected {expected}; one that takes another image is not supported")
        settings.refuse("out_channels", (None, expected), f"expected {expected}, as in_channels")

    @abstractmethod
    def in_channels(self, channels: int) -> int:
        """What the network has to take for latents of so many channels."""

    @property
    @abstractmethod
    def patch(self) -> int:
        """Latents along the side of the patch that is one token."""

    @property
    @abstractmethod
    def sample_size(self) -> int:
        """Height and width of the latents at its training size."""

    @abstractmethod
    def check_size(self, size: int) -> None:
        """Check that the network takes latents of this height and width.

        Raises:
            ModelError: it does not.
        """

    def check_text(self, encoder: PretrainedTextEncoder) -> None:
        """Check that the network takes the texts of an encoder.

        Raises:
            ModelError: they have other widths.
        """
        self.settings.refuse(
            "joint_attention_dim", (encoder.width,), f"but the encoded text has {encoder.width} numbers per token"
        )
        problem = f"but the encoded text as a whole has {encoder.pooled_width} numbers"
        self.settings.refuse("pooled_projection_dim", (encoder.pooled_width,), problem)

    @property
    def width(self) -> int:
        """Numbers per token inside."""
        return self.settings["num_attention_heads"] * self.settings["attention_head_dim"]

    @abstractmethod
    def module(self, network: nn.Module) -> nn.Module:
        """The network as a module of latents, timesteps, tokens, pooled text and `further`, in this order."""

    def further(self, batch: int, device: torch.device) -> tuple[Tensor, ...]:
        """What else the network takes."""
        return ()
