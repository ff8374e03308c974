"""Text-image scores by a CLIP model: similarity to the prompt, and R-precision."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from threefusion.errors import UserError
from threefusion.evaluate.candidates import Candidates
from threefusion.evaluate.janus import FrontClassifier
from threefusion.evaluate.keys import TEXT_IMAGE_KEYS
from threefusion.evaluate.views import shaded_views
from threefusion.guidance.prior.files import ModelError
from threefusion.guidance.prior.reading import read_network, read_tokenizer
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


@dataclass(frozen=True)
class Preprocessing:
    """Image preprocessing of a model, from its preprocessor_config.json."""

    resize: int
    """Height and width that a square image is resized to."""
    crop: int
    """Height and width of the centre crop."""
    mean: tuple[float, ...]
    std: tuple[float, ...]


class Judge:
    """A CLIP model (arXiv 2103.00020), loaded on first use.

    Text embeddings are cached for the lifetime of the process.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.preprocessing = read_preprocessing(folder)
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
            from transformers import AutoTokenizer, CLIPModel

            try:
                model = read_network(CLIPModel, self.folder, torch.float32)
                tokenizer = read_tokenizer(AutoTokenizer, self.folder)
            except ModelError as error:
                raise JudgeError(f"{self.folder}: cannot load a CLIPModel with its tokenizer ({error})") from error
            self._parts = model.requires_grad_(False), tokenizer
        return self._parts

    @torch.no_grad()
    def embed_texts(self, texts: list[str]) -> Float[Tensor, "n D"]:
        """Normalised embeddings, one per text."""
        model, tokenizer = self._loaded()
        new = [text for text in dict.fromkeys(texts) if text not in self._texts]
        length = model.config.text_config.max_position_embeddings
        for first in range(0, len(new), BATCH):
            part = new[first : first + BATCH]
            tokens = tokenizer(part, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
            hidden = model.text_model(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)
            vectors = normalize(model.text_projection(hidden.pooler_output), dim=-1)
            self._texts.update(zip(part, vectors, strict=True))
        return torch.stack([self._texts[text] for text in texts])

    @torch.no_grad()
    def embed_images(self, images: Float[Tensor, "B H W 3"]) -> Float[Tensor, "B D"]:
        """Normalised embeddings, one per image in [0, 1]."""
        model = self._loaded()[0]
        embeddings = []
        for part in preprocess(images, self.preprocessing).split(BATCH):
            hidden = model.vision_model(pixel_values=part)
            embeddings.append(normalize(model.visual_projection(hidden.pooler_output), dim=-1))
        return torch.cat(embeddings)


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


def read_preprocessing(folder: Path) -> Preprocessing:
    """Read preprocessor_config.json of a model.

    Raises:
        JudgeError: it is missing or has another format.
    """
    import json

    path = folder / "preprocessor_config.json"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        resize = _side(settings["size"])
        crop = _side(settings.get("crop_size", resize)) if settings.get("do_center_crop", True) else resize
        mean, std = (tuple(float(value) for value in settings[name]) for name in ("image_mean", "image_std"))
        return Preprocessing(resize, min(crop, resize), mean, std)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise JudgeError(f"{path}: cannot be read ({type(error).__name__}: {error})") from error


def _side(size: int | dict[str, int]) -> int:
    """The size as a number, from any of the formats of transformers."""
    return size if isinstance(size, int) else size.get("shortest_edge") or size["height"]


def preprocess(images: Float[Tensor, "B H W 3"], preprocessing: Preprocessing) -> Float[Tensor, "B 3 h w"]:
    """Preprocess square images: bicubic resize, centre crop, normalisation."""
    pixels = images.permute(0, 3, 1, 2)
    if pixels.shape[-1] != preprocessing.resize:
        pixels = interpolate(pixels, (preprocessing.resize, preprocessing.resize), mode="bicubic", antialias=True).clamp(0, 1)
    start = (preprocessing.resize - preprocessing.crop) // 2
    pixels = pixels[..., start : start + preprocessing.crop, start : start + preprocessing.crop]
    mean, std = (pixels.new_tensor(values).view(1, 3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
    return (pixels - mean) / std


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
