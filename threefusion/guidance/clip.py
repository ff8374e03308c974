"""The similarity of renders and text in a CLIP model (Dream Fields, arXiv 2112.01455)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from threefusion.guidance.augmentation import backgrounds, crops
from threefusion.guidance.clip_model import embed_images, embed_texts, read_clip, read_preprocessing
from threefusion.guidance.guidance import Guidance, GuidanceOutput
from threefusion.guidance.prior.models import resolve
from threefusion.guidance.settings import ClipConfig
from threefusion.types import RenderOutput, ViewBatch, ViewTexts

if TYPE_CHECKING:
    from transformers import CLIPModel


class Clip(Guidance):
    """Minus the mean cosine between the embeddings of random crops of each view, before random backgrounds, and of its text.

    The gradient is the network's own: there is no noise and no time. The network is kept out of the module tree, as those of
    diffusion priors are.
    """

    cfg: ClipConfig

    def __init__(self, cfg: ClipConfig) -> None:
        super().__init__(cfg)
        self.folder = resolve(cfg.model, (".",), cfg.revision)
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

    def forward(self, render: RenderOutput, prompt: ViewTexts, views: ViewBatch) -> GuidanceOutput:
        """The loss, between -1 and 1."""
        size, count = self.preprocessing.crop, self.cfg.crops
        with torch.autocast(render.image.device.type, enabled=False):
            layers = torch.cat([self.image(render), render.opacity], dim=-1).float()
            cut = crops(layers, views, count, self.cfg.crop_share, size)
            image, opacity = cut[..., :3], cut[..., 3:]
            if self.cfg.backgrounds:
                # black behind a rendered image, grey behind normals
                behind = 0.0 if self.cfg.input == "image" else 0.5
                image = image + (1 - opacity) * (backgrounds(views, count, size) - behind)
            pixels = self.preprocessing.normalized(image.permute(0, 3, 1, 2))
            similarity = (embed_images(self._network[0], pixels).view(len(views), count, -1) * self.wanted(prompt)).sum(-1)
        return GuidanceOutput(-similarity.mean(), {"similarity": similarity.detach().mean()})

    def wanted(self, prompt: ViewTexts) -> Float[Tensor, "B 1 D"]:
        """The unit embedding of every view's texts, mixed by their shares."""
        rows = self.texts[[self._rows[text] for text in prompt.texts]]
        return normalize(prompt.weight @ rows, dim=-1)[:, None]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Clip:
        """Follow a move to another device, and nothing else."""
        super()._apply(fn, recurse)
        device = fn(torch.empty(0, device=self.texts.device)).device
        for network in self._network:
            network.to(device)
        return self
