"""Batches of views of which guidance uses nothing but the keys of the randomness, and texts that stand for Gaussians."""

from __future__ import annotations

import torch

from threefusion.guidance.embedding import TextEmbeddings, fill
from threefusion.guidance.guidance import GuidanceOutput
from threefusion.guidance.prior.conditioning import Conditioning, PromptConditioning
from threefusion.testing import image_render
from threefusion.types import Cameras, Lights, ViewBatch, ViewTexts


def make_batch(count: int = 2, step: int = 0, first: int = 0, seed: int = 0, group_size: int = 1) -> ViewBatch:
    """Views `first`, `first + 1`, … of a step."""
    zero, index = torch.zeros(count), torch.arange(first, first + count)
    camera = Cameras(torch.eye(4).repeat(count, 1, 1), zero + 0.8, zero, zero, zero + 2, 16, 16)
    light = Lights(torch.zeros(count, 3), torch.ones(count, 3), torch.zeros(count, 3))
    return ViewBatch(camera, light, torch.zeros(count, dtype=torch.int64), step, index, seed, index // group_size)


def gaussian_texts(
    text: tuple[float, float] = (0.8, 0.4),
    uncond: tuple[float, float] = (0.5, 0.4),
    *negatives: tuple[float, float],
    templates: dict[str, tuple[float, float]] | None = None,
) -> TextEmbeddings:
    """The texts "text", "" and "negative 0", …: Gaussians of a grey mean in [0, 1] and a standard deviation."""
    gaussians = {"text": text, "": uncond} | {f"negative {i}": pair for i, pair in enumerate(negatives)}
    gaussians |= {fill(template, "text"): pair for template, pair in (templates or {}).items()}
    tokens = torch.tensor([[[mean, mean, mean, std]] for mean, std in gaussians.values()])
    return TextEmbeddings(list(gaussians), Conditioning(tokens))


def prompt_of(texts: TextEmbeddings, count: int) -> ViewTexts:
    """The text and all negatives of `gaussian_texts`, for every view."""
    return ViewTexts(("text",), torch.ones(count, 1), tuple(name for name in texts._rows if name.startswith("negative")))


def conditions(texts: TextEmbeddings, count: int) -> PromptConditioning:
    """The conditioning of `count` views."""
    return texts(prompt_of(texts, count))


def evaluate(guidance, image: torch.Tensor, texts: TextEmbeddings, batch: ViewBatch) -> GuidanceOutput:
    """The output of an objective on images as if they had been rendered."""
    guidance.embeddings = texts
    return guidance(image_render(image), prompt_of(texts, len(batch)), batch)
