"""Delta denoising score (arXiv 2304.07090): edits what a source shows instead of making it anew."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.guidance.denoiser import Denoiser
from threefusion.guidance.noised import NoisedViews
from threefusion.guidance.prior.prior import DiffusionPrior
from threefusion.guidance.prior.reference import read_picture
from threefusion.guidance.score import ScoreDistillation
from threefusion.guidance.settings import DDSConfig
from threefusion.types import RenderOutput, ViewBatch, ViewTexts, Want


@dataclass(frozen=True, kw_only=True)
class PairDenoiser(Denoiser):
    """The prior with the prompt of the edited views, and what they are edited from."""

    source: Denoiser
    """The prior with the words for the source."""
    x: Float[Tensor, "B C h w"]
    """The source in the prior's space."""


class DDS(ScoreDistillation):
    """The contrast at the view minus the contrast at its source, at the same time and noise: what both lack cancels.

    The source is a picture, or the scene that the run starts from, rendered from the same cameras.
    """

    cfg: DDSConfig
    reads_plain: ClassVar[bool] = True

    def __init__(self, cfg: DDSConfig, prior: DiffusionPrior) -> None:
        super().__init__(cfg, prior)
        self._words: dict[str, str] = {}
        picture = None
        if cfg.source:
            rgba = read_picture(Path(cfg.source))
            # transparent parts are white, as in a reference picture
            picture = rgba[..., :3] * rgba[..., 3:] + 1 - rgba[..., 3:]
        self.register_buffer("picture", picture, persistent=False)

    @property
    def wants(self) -> Want:
        """Also the source, unless it is a picture."""
        return super().wants | Want(source=not self.cfg.source)

    @property
    def templates(self) -> tuple[str, ...]:
        """The contrast's, and the words for the source."""
        return (*super().templates, *filter(None, (self.cfg.source_prompt,)))

    def embed_texts(self, texts: list[str]) -> None:
        """Encode also the texts of the source's views: its words take the place of the plain text, which comes last."""
        words, plain = self.cfg.source_prompt, texts[-1]
        if words:
            self._words = {text: text.replace(plain, words) if plain in text else words for text in texts if text}
        super().embed_texts([*texts, *self._words.values()])

    def denoiser(self, prompt: ViewTexts, views: ViewBatch, render: RenderOutput | None = None) -> PairDenoiser:
        """The prior with both prompts; the source is encoded with the same draws as the views."""
        words = replace(prompt, texts=tuple(self._words.get(text, self.cfg.source_prompt or text) for text in prompt.texts))
        assert render is not None
        source = render.source
        if self.picture is not None:
            picture = self.picture.expand(len(views), -1, -1, -1)
            source = replace(render, image=picture, opacity=torch.ones_like(picture[..., :1]))
        assert source is not None
        x = self.encode(self.image(source), views)
        return PairDenoiser(**vars(super().denoiser(prompt, views, render)), source=super().denoiser(words, views, source), x=x)

    def baseline(self, noised: NoisedViews, denoiser: PairDenoiser, views: ViewBatch) -> Float[Tensor, "B C h w"]:
        """The contrast at the source."""
        pair = NoisedViews.along(denoiser.schedule, denoiser.x, noised.noise, noised.t)
        return self.combined(pair, denoiser.source, views)
