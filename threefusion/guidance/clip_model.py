"""CLIP models (arXiv 2103.00020) in the layout of transformers: where they are, and their embeddings of texts and images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from threefusion.guidance.prior.files import ModelError, read_settings
from threefusion.guidance.prior.reading import read_network, read_tokenizer

if TYPE_CHECKING:
    from transformers import CLIPModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Preprocessing:
    """Image preprocessing of a model, from its preprocessor_config.json."""

    resize: int
    """Height and width that a square image is resized to."""
    crop: int
    """Height and width of the centre crop."""
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def normalized(self, pixels: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B 3 h w"]:
        """Colours in [0, 1] as the network takes them."""
        mean, std = (pixels.new_tensor(values).view(1, 3, 1, 1) for values in (self.mean, self.std))
        return (pixels - mean) / std


def read_preprocessing(folder: Path) -> Preprocessing:
    """Read preprocessor_config.json of a model.

    Raises:
        ModelError: it is missing or has another format.
    """
    path = folder / "preprocessor_config.json"
    settings = read_settings(path)
    try:
        resize = _side(settings["size"])
        crop = _side(settings.get("crop_size", resize)) if settings.get("do_center_crop", True) else resize
        mean, std = (tuple(float(value) for value in settings[name]) for name in ("image_mean", "image_std"))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ModelError(f"{path}: cannot be read ({type(error).__name__}: {error})") from error
    return Preprocessing(resize, min(crop, resize), mean, std)


def _side(size: int | dict[str, int]) -> int:
    """The size as a number, from any of the formats of transformers."""
    return size if isinstance(size, int) else size.get("shortest_edge") or size["height"]


def read_clip(folder: Path) -> tuple[CLIPModel, PreTrainedTokenizerBase]:
    """The frozen networks in float32, and the tokenizer.

    Raises:
        ModelError: a file is missing or damaged.
    """
    from transformers import AutoTokenizer, CLIPModel

    model, tokenizer = read_network(CLIPModel, folder, torch.float32), read_tokenizer(AutoTokenizer, folder)
    return model.requires_grad_(False), tokenizer


@torch.no_grad()
def embed_texts(model: CLIPModel, tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> Float[Tensor, "n D"]:
    """Unit vectors, one per text."""
    length = model.config.text_config.max_position_embeddings
    tokens = tokenizer(texts, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    hidden = model.text_model(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)
    return normalize(model.text_projection(hidden.pooler_output), dim=-1)


def embed_images(model: CLIPModel, pixels: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B D"]:
    """Unit vectors, one per preprocessed image; gradient flows."""
    return normalize(model.visual_projection(model.vision_model(pixel_values=pixels).pooler_output), dim=-1)
