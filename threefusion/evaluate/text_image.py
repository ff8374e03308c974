"""Text-image scores by a CLIP model: similarity to the prompt, and R-precision."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from threefusion.errors import UserError
from threefusion.evaluate.candidates import Candidates
from threefusion.evaluate.janus import FrontClassifier
from threefusion.evaluate.keys import TEXT_IMAGE_KEYS
from threefusion.evaluate.views import shaded_views
from threefusion.guidance.clip_model import Preprocessing, embed_images, embed_texts, read_clip, read_preprocessing
from threefusion.guidance.prior.files import ModelError
from threefusion.machine.checksums import damage
from threefusion.toyworld.captions import describe
from threefusion.toyworld.objects import ToyObject
from threefusion.toyworld.render import scoring_cameras
from threefusion.types import Mesh

if TYPE_CHECKING:
    from transformers import CLIPModel, PreTrainedTokenizerBase

BATCH = 32


class JudgeError(UserError):
    """A folder does not contain a usable CLIP model."""


class Judge:
    """A CLIP model (arXiv 2103.00020), loaded on first use.

    Text embeddings are cached for the lifetime of the process.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.preprocessing = read_preprocessing(folder)
        except ModelError as error:
            raise JudgeError(str(error)) from error
        self._texts: dict[str, Tensor] = {}
        self._parts: tuple[CLIPModel, PreTrainedTokenizerBase] | None = None

    @property
    def size(self) -> int:
        """Height and width of images that need no resizing."""
        return self.preprocessing.resize

    @property
    def scale(self) -> float:
        """Inverse temperature: the factor that turns cosines into logits."""
        return float(self._loaded()[0].logit_scale.exp())

    def _loaded(self) -> tuple[CLIPModel, PreTrainedTokenizerBase]:
        """Model and tokenizer."""
        if self._parts is None:
            try:
                self._parts = read_clip(self.folder)
            except ModelError as error:
                raise JudgeError(f"{self.folder}: cannot load a CLIPModel with its tokenizer ({error})") from error
        return self._parts

    @torch.no_grad()
    def embed_texts(self, texts: list[str]) -> Float[Tensor, "n D"]:
        """Normalised embeddings, one per text."""
        model, tokenizer = self._loaded()
        new = [text for text in dict.fromkeys(texts) if text not in self._texts]
        for first in range(0, len(new), BATCH):
            part = new[first : first + BATCH]
            self._texts.update(zip(part, embed_texts(model, tokenizer, part), strict=True))
        return torch.stack([self._texts[text] for text in texts])

    @torch.no_grad()
    def embed_images(self, images: Float[Tensor, "B H W 3"]) -> Float[Tensor, "B D"]:
        """Normalised embeddings, one per image in [0, 1]."""
        model = self._loaded()[0]
        parts = preprocess(images, self.preprocessing).split(BATCH)
        return torch.cat([embed_images(model, part) for part in parts])


@lru_cache(maxsize=4)
def load_judge(folder: Path) -> Judge:
    """The judge in a folder, cached.

    Raises:
        JudgeError: no such folder, no model in it, or a damaged file.
    """
    if not folder.is_dir():
        raise JudgeError(f"{folder} is not a folder; expected a CLIPModel with tokenizer and preprocessor")
    if damaged := next(filter(None, map(damage, filter(Path.is_file, sorted(folder.iterdir())))), None):
        raise JudgeError(damaged)
    return Judge(folder)


def preprocess(images: Float[Tensor, "B H W 3"], preprocessing: Preprocessing) -> Float[Tensor, "B 3 h w"]:
    """Preprocess square images: bicubic resize, centre crop, normalisation."""
    pixels = images.permute(0, 3, 1, 2)
    if pixels.shape[-1] != preprocessing.resize:
        pixels = interpolate(pixels, (preprocessing.resize, preprocessing.resize), mode="bicubic", antialias=True).clamp(0, 1)
    start = (preprocessing.resize - preprocessing.crop) // 2
    pixels = pixels[..., start : start + preprocessing.crop, start : start + preprocessing.crop]
    return preprocessing.normalized(pixels)


def retrieval(judge: Judge, images: Float[Tensor, "B H W 3"], candidates: Candidates, prefix: str = "") -> dict[str, Any]:
    """Similarity of views to the correct caption, and retrieval of it among the candidates.

    `r_precision` is the share of views whose nearest caption is the correct one (DreamFields, arXiv 2112.01455), `rank` its mean
    rank (1 is best), and `retrieved` whether it is nearest to the mean embedding of the views. Ties count against it.
    """
    views = judge.embed_images(images)
    texts = judge.embed_texts(candidates.texts)
    cosine = views @ texts.T
    rank = 1 + _rivals(cosine, candidates.right)
    mean_rivals = _rivals(views.mean(0, keepdim=True) @ texts.T, candidates.right)
    values = {
        "similarity": float(cosine[:, candidates.right].mean()),
        "r_precision": float((rank == 1).double().mean()),
        "rank": float(rank.double().mean()),
        "retrieved": bool(mean_rivals[0] == 0),
        "candidates": len(candidates.texts),
    }
    return {prefix + name: value for name, value in values.items()}


def _rivals(cosine: Float[Tensor, "B n"], right: int) -> Tensor:
    """Number of other captions that are at least as near as the correct one."""
    return (cosine >= cosine[:, right : right + 1]).sum(-1) - 1


def text_image(
    mesh: Mesh | None, judge: Judge | None, candidates: tuple[Candidates, Candidates] | None, views: int, scale: float
) -> dict[str, Any]:
    """The values of `TEXT_IMAGE_KEYS`, None without a judge or candidates.

    Args:
        mesh: the mesh; without one the prompt is not retrieved.
        judge: the CLIP model.
        candidates: captions for colour and for textureless views.
        views: number of views.
        scale: factor on camera distances, see `framing`.
    """
    missing: dict[str, Any] = dict.fromkeys(TEXT_IMAGE_KEYS)
    if judge is None or candidates is None:
        return missing
    if mesh is None:
        return missing | {"r_precision": 0.0, "retrieved": False, "textureless_r_precision": 0.0, "textureless_retrieved": False}
    cameras = scoring_cameras(judge.size, views, scale=scale)
    color, white = shaded_views(mesh, cameras)
    return {**retrieval(judge, color, candidates[0]), **retrieval(judge, white, candidates[1], "textureless_")}


class JudgeFrontClassifier(FrontClassifier):
    """Zero-shot classification of the captions for the object's front, side and back by the judge."""

    def __init__(self, judge: Judge) -> None:
        self.judge, self.size = judge, judge.size

    def __call__(self, images: Float[Tensor, "B H W 3"], target: ToyObject) -> Float[Tensor, "B"]:
        """Softmax over the three captions at the judge's temperature."""
        texts = self.judge.embed_texts([describe(target.name, target.color, view) for view in ("front", "side", "back")])
        return (self.judge.scale * self.judge.embed_images(images) @ texts.T).softmax(-1)[:, 0]
