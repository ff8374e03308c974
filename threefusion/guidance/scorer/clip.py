"""Scores of a CLIP model: similarity to the text, and which view it is."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.guidance.clip_embedder import ClipEmbedder
from threefusion.guidance.prior.image import resize
from threefusion.guidance.scorer.scorer import Scorer
from threefusion.guidance.scorer.settings import ClipScorerConfig
from threefusion.types import ViewTexts


class ClipScorer(Scorer):
    """A scorer with a CLIP model."""

    cfg: ClipScorerConfig

    def __init__(self, cfg: ClipScorerConfig) -> None:
        super().__init__(cfg)
        self.clip = ClipEmbedder(cfg.model, cfg.revision)

    def embed_texts(self, texts: list[str]) -> None:
        """Encode the texts of the run."""
        self.clip.embed_texts(texts)

    def embed(self, images: Float[Tensor, "B H W 3"]) -> Float[Tensor, "B D"]:
        """Unit vectors of images of any size."""
        return self.clip.images(resize(images.float(), self.clip.size))


class Similarity(ClipScorer):
    """The cosine between the embeddings of a view and of its texts, mixed by their shares."""

    def forward(self, images: Float[Tensor, "B H W 3"], prompt: ViewTexts) -> Float[Tensor, "B"]:
        """Between -1 and 1."""
        return (self.embed(images) * self.clip.wanted(prompt)).sum(-1)


class ViewClass(ClipScorer):
    """The log-probability of a view's texts among those of all views of the prompt.

    A prior that prefers front views shows a face from every side; this is lower where another view's text fits the image better.
    """

    def forward(self, images: Float[Tensor, "B H W 3"], prompt: ViewTexts) -> Float[Tensor, "B"]:
        """At most 0; the mean over a view's texts by their shares."""
        logits = self.clip.scale * self.embed(images) @ self.clip.rows(prompt).T
        return (prompt.weight * torch.log_softmax(logits, dim=-1)).sum(-1)
