"""What an image-text model says about pictures of a result: similarity to the prompt, and retrieval of the prompt."""

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
from threefusion.evaluate.views import pictures
from threefusion.toyworld.captions import describe
from threefusion.toyworld.objects import ToyObject
from threefusion.toyworld.render import scoring_cameras
from threefusion.types import Mesh

if TYPE_CHECKING:
    from transformers import CLIPModel, PreTrainedTokenizerBase

BATCH = 32


class JudgeError(UserError):
    """A folder is no image-text model that can judge."""


@dataclass(frozen=True)
class Preprocessing:
    """What a model wants of pictures, from its preprocessor_config.json."""

    resize: int
    """Height and width that a square picture is resized to."""
    crop: int
    """Height and width of what is then cut out of its middle."""
    mean: tuple[float, ...]
    std: tuple[float, ...]


class Judge:
    """An image-text model of the shape of CLIP (arXiv 2103.00020); its network is read at the first question.

    Texts are embedded once per process, however many runs are judged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.preprocessing = read_preprocessing(folder)
        self._texts: dict[str, Tensor] = {}
        self._parts: tuple[CLIPModel, PreTrainedTokenizerBase] | None = None

    @property
    def size(self) -> int:
        """Height and width of pictures that need no resizing."""
        return self.preprocessing.resize

    @property
    def scale(self) -> float:
        """The factor on cosines that makes them logits."""
        return float(self._loaded()[0].logit_scale.exp())

    def _loaded(self) -> tuple[CLIPModel, PreTrainedTokenizerBase]:
        """Network and tokenizer."""
        if self._parts is None:
            from transformers import AutoTokenizer, CLIPModel
            from transformers.utils import logging

            logging.disable_progress_bar()
            try:
                model = CLIPModel.from_pretrained(self.folder, dtype=torch.float32, local_files_only=True)
                tokenizer = AutoTokenizer.from_pretrained(self.folder, local_files_only=True)
            except (OSError, ValueError, KeyError) as error:
                reason = str(error).strip().partition("\n")[0]
                raise JudgeError(f"{self.folder}: cannot be read as a CLIPModel with its tokenizer ({reason})") from error
            self._parts = model.eval().requires_grad_(False), tokenizer
        return self._parts

    @torch.no_grad()
    def embed_texts(self, texts: list[str]) -> Float[Tensor, "n D"]:
        """Unit vectors, one per text."""
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
        """Unit vectors, one per picture in [0, 1]."""
        model = self._loaded()[0]
        found = []
        for part in prepared(images, self.preprocessing).split(BATCH):
            hidden = model.vision_model(pixel_values=part)
            found.append(normalize(model.visual_projection(hidden.pooler_output), dim=-1))
        return torch.cat(found)


@lru_cache(maxsize=4)
def judge_at(folder: Path) -> Judge:
    """The judge in a folder, one per process.

    Raises:
        JudgeError: no such folder, or no model in it.
    """
    if not folder.is_dir():
        raise JudgeError(f"{folder}: no such folder; expected a CLIPModel with tokenizer and preprocessor")
    return Judge(folder)


def read_preprocessing(folder: Path) -> Preprocessing:
    """Sizes, mean and standard deviation as the model's own file gives them.

    Raises:
        JudgeError: it is missing or says something else.
    """
    import json

    path = folder / "preprocessor_config.json"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        resize = _side(settings["size"])
        crop = _side(settings.get("crop_size", resize)) if settings.get("do_center_crop", True) else resize
        mean, std = (tuple(float(value) for value in settings[name]) for name in ("image_mean", "image_std"))
        return Preprocessing(resize, min(crop, resize), mean, std)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise JudgeError(f"{path}: cannot be read ({type(error).__name__}: {error})") from error


def _side(size: int | dict[str, int]) -> int:
    """One number out of the ways in which transformers has written sizes."""
    return size if isinstance(size, int) else size.get("shortest_edge") or size["height"]


def prepared(images: Float[Tensor, "B H W 3"], wanted: Preprocessing) -> Float[Tensor, "B 3 h w"]:
    """Square pictures as the model saw pictures: bicubic, middle, normalised."""
    pixels = images.permute(0, 3, 1, 2)
    if pixels.shape[-1] != wanted.resize:
        pixels = interpolate(pixels, (wanted.resize, wanted.resize), mode="bicubic", antialias=True).clamp(0, 1)
    start = (wanted.resize - wanted.crop) // 2
    pixels = pixels[..., start : start + wanted.crop, start : start + wanted.crop]
    mean, std = (pixels.new_tensor(values).view(1, 3, 1, 1) for values in (wanted.mean, wanted.std))
    return (pixels - mean) / std


def retrieval(judge: Judge, images: Float[Tensor, "B H W 3"], candidates: Candidates, prefix: str = "") -> dict[str, Any]:
    """How near the pictures come to the right caption, and its rank among the candidates (1 is best).

    `r_precision` is the share of views whose nearest caption is the right one (Park et al., DreamFields, arXiv 2112.01455);
    `retrieved`: whether it is nearest to the views' mean vector. A tie counts against the right one.
    """
    seen = judge.embed_images(images)
    texts = judge.embed_texts(candidates.texts)
    cosine = seen @ texts.T
    own = cosine[:, candidates.right]
    rank = 1 + _before(cosine, candidates.right)
    together = _before(seen.mean(0, keepdim=True) @ texts.T, candidates.right)
    found = {
        "similarity": float(own.mean()),
        "r_precision": float((rank == 1).double().mean()),
        "rank": float(rank.double().mean()),
        "retrieved": bool(together[0] == 0),
        "candidates": len(candidates.texts),
    }
    return {prefix + name: value for name, value in found.items()}


def _before(cosine: Float[Tensor, "B n"], right: int) -> Tensor:
    """How many other captions are at least as near as the right one."""
    return (cosine >= cosine[:, right : right + 1]).sum(-1) - 1


def text_image(
    mesh: Mesh | None, judge: Judge | None, among: tuple[Candidates, Candidates] | None, views: int, scale: float
) -> dict[str, Any]:
    """The values of `TEXT_IMAGE_KEYS`, None where there is no judge or nothing to choose among.

    `among` are the captions for pictures in colour and for textureless ones. Of no mesh there are no pictures: nothing is
    retrieved then. `scale`: of the cameras' distances.
    """
    nothing: dict[str, Any] = dict.fromkeys(TEXT_IMAGE_KEYS)
    if judge is None or among is None:
        return nothing
    if mesh is None:
        return nothing | {"r_precision": 0.0, "retrieved": False, "textureless_r_precision": 0.0, "textureless_retrieved": False}
    cameras = scoring_cameras(judge.size, views, scale=scale)
    color, white = pictures(mesh, cameras)
    return {**retrieval(judge, color, among[0]), **retrieval(judge, white, among[1], "textureless_")}


class JudgeFrontClassifier(FrontClassifier):
    """The judge's choice among the captions that name the object's front, side and back."""

    def __init__(self, judge: Judge) -> None:
        self.judge, self.size = judge, judge.size

    def __call__(self, images: Float[Tensor, "B H W 3"], thing: ToyObject) -> Float[Tensor, "B"]:
        """Softmax over the three captions, at the judge's own temperature."""
        texts = self.judge.embed_texts([describe(thing.name, thing.color, view) for view in ("front", "side", "back")])
        return (self.judge.scale * self.judge.embed_images(images) @ texts.T).softmax(-1)[:, 0]
