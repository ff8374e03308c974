"""A frozen CLIP model (arXiv 2103.00020) with the embeddings of a run's texts."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from threefusion.guidance.clip_model import embed_images, embed_texts, read_clip, read_preprocessing
from threefusion.guidance.prior.models import resolve
from threefusion.types import ViewTexts

if TYPE_CHECKING:
    from transformers import CLIPModel


class ClipEmbedder(nn.Module):
    """Images and texts to unit vectors. The network is kept out of the module tree, as those of diffusion priors are."""

    def __init__(self, model: str, revision: str | None) -> None:
        super().__init__()
        self.folder = resolve(model, (".",), revision)
        self.preprocessing = read_preprocessing(self.folder)
        self._network: list[CLIPModel] = []
        self._rows: dict[str, int] = {}
        self.register_buffer("texts", torch.zeros(0, 1), persistent=False)

    def embed_texts(self, texts: list[str]) -> None:
        """Encode the texts; the network's text half is freed."""
        model, tokenizer = read_clip(self.folder)
        self._rows = {text: row for row, text in enumerate(texts)}
        self.texts = embed_texts(model, tokenizer, texts)
        del model.text_model
        self._network = [model]

    @property
    def size(self) -> int:
        """Height and width of the images that the network takes."""
        return self.preprocessing.crop

    @property
    def scale(self) -> Float[Tensor, ""]:
        """The model's own factor from cosines to logits."""
        return self._network[0].logit_scale.exp()

    def images(self, images: Float[Tensor, "B H W 3"]) -> Float[Tensor, "B D"]:
        """Unit vectors of colours in [0, 1], of the network's size; gradient flows."""
        return embed_images(self._network[0], self.preprocessing.normalized(images.permute(0, 3, 1, 2)))

    def rows(self, prompt: ViewTexts) -> Float[Tensor, "V D"]:
        """Unit vectors of the texts of a batch."""
        return self.texts[[self._rows[text] for text in prompt.texts]]

    def wanted(self, prompt: ViewTexts) -> Float[Tensor, "B D"]:
        """The unit vector of every view's texts, mixed by their shares."""
        return normalize(prompt.weight @ self.rows(prompt), dim=-1)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> ClipEmbedder:
        """Follow a move to another device, and nothing else."""
        super()._apply(fn, recurse)
        device = fn(torch.empty(0, device=self.texts.device)).device
        for network in self._network:
            network.to(device)
        return self
