"""The similarity of renders and text in a CLIP model (Dream Fields, arXiv 2112.01455)."""

from __future__ import annotations

import torch

from threefusion.guidance.augmentation import backgrounds, crops
from threefusion.guidance.clip_embedder import ClipEmbedder
from threefusion.guidance.guidance import Guidance, GuidanceOutput
from threefusion.guidance.settings import ClipConfig
from threefusion.types import RenderOutput, ViewBatch, ViewTexts


class Clip(Guidance):
    """Minus the mean cosine between the embeddings of random crops of each view, before random backgrounds, and of its text.

    The gradient is the network's own: there is no noise and no time.
    """

    cfg: ClipConfig

    def __init__(self, cfg: ClipConfig) -> None:
        super().__init__(cfg)
        self.clip = ClipEmbedder(cfg.model, cfg.revision)

    def embed_texts(self, texts: list[str]) -> None:
        """Encode the texts of the run."""
        self.clip.embed_texts(texts)

    def forward(self, render: RenderOutput, prompt: ViewTexts, views: ViewBatch) -> GuidanceOutput:
        """The loss, between -1 and 1."""
        size, count = self.clip.size, self.cfg.crops
        with torch.autocast(render.image.device.type, enabled=False):
            layers = torch.cat([self.image(render), render.opacity], dim=-1).float()
            cut = crops(layers, views, count, self.cfg.crop_share, size)
            image, opacity = cut[..., :3], cut[..., 3:]
            if self.cfg.backgrounds:
                # black behind a rendered image, grey behind normals
                behind = 0.0 if self.cfg.input == "image" else 0.5
                image = image + (1 - opacity) * (backgrounds(views, count, size) - behind)
            similarity = (self.clip.images(image).view(len(views), count, -1) * self.clip.wanted(prompt)[:, None]).sum(-1)
        return GuidanceOutput(-similarity.mean(), {"similarity": similarity.detach().mean()})
