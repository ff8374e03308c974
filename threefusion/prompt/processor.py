"""Words -> embeddings for every view: the base of all prompt processors."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.component import Component
from threefusion.guidance.prior.prior import TextEncoder
from threefusion.prompt.cache import embed
from threefusion.prompt.settings import PromptConfig
from threefusion.types import Cameras, PromptEmbeddings


class PromptProcessor(Component):
    """Embeds its texts once, with the encoder of the prior, and mixes them per camera.

    Nothing of the encoder is kept. Embeddings are buffers that stay out of checkpoints: a run's config says what they are.
    """

    kind: ClassVar[str] = "prompt"

    tokens: Float[Tensor, "V L D"]
    uncond: Float[Tensor, "1 L D"]
    negative: Float[Tensor, "1 L D"] | None

    def __init__(self, cfg: PromptConfig, encoder: TextEncoder) -> None:
        super().__init__()
        self.cfg = cfg
        views = self.view_texts()
        negatives = [cfg.negative] if cfg.negative else []
        tokens = embed(encoder, [*views, "", *negatives])
        self.register_buffer("tokens", tokens[: len(views)], persistent=False)
        self.register_buffer("uncond", tokens[len(views) : len(views) + 1], persistent=False)
        self.register_buffer("negative", tokens[len(views) + 1 :] if negatives else None, persistent=False)

    def view_texts(self) -> list[str]:
        """The texts that views are told, one per column of `view_weights`."""
        raise NotImplementedError

    def view_weights(self, camera: Cameras) -> Float[Tensor, "B V"]:
        """How much of each text every view is told; rows sum to 1."""
        raise NotImplementedError

    def forward(self, camera: Cameras) -> PromptEmbeddings:
        """Tokens for every view."""
        text = torch.einsum("bv,vld->bld", self.view_weights(camera), self.tokens)
        uncond = self.uncond.expand_as(text)
        return PromptEmbeddings(text, uncond, None if self.negative is None else self.negative.expand_as(text)[:, None])
