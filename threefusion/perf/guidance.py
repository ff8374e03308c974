"""One call of the guidance with the bundled pixel prior, and its network alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from threefusion.guidance.guidance import Guidance
from threefusion.guidance.prior.prior import DiffusionPrior
from threefusion.guidance.prior.settings import PixelConfig
from threefusion.guidance.settings import SDSConfig
from threefusion.perf.scene import SEED, fixed_views
from threefusion.perf.timing import Call, Candidate, plain
from threefusion.registry import build
from threefusion.types import PromptEmbeddings

CONDITIONS = 2
"""The empty prompt and the text, in one call of the network."""


def guidance_candidates(batches: Sequence[int], device: torch.device) -> Iterator[Candidate]:
    """Score distillation with `toyworld-pixel`, and the call of its U-Net alone."""
    prior = build(PixelConfig(model="toyworld-pixel")).to(device)
    tokens = prior.text_encoder().encode(["", "a red mushroom"]).to(device)
    for batch in batches:
        yield from prior_candidates("torch", prior, tokens, batch, prior.shape[1])


def prior_candidates(name: str, prior: DiffusionPrior, tokens: Tensor, batch: int, resolution: int) -> Iterator[Candidate]:
    """The guidance call on `batch` images and the network call in it; `tokens [2 L D]` of the empty prompt and a text."""
    size = {"batch": batch, "resolution": resolution}
    yield Candidate(name, "guidance", size, guidance_call(prior, tokens, batch, resolution))
    random = torch.Generator().manual_seed(SEED)
    z = torch.randn(CONDITIONS * batch, *prior.shape, generator=random).to(tokens.device)
    timesteps = torch.full((len(z),), 500, device=tokens.device)
    predict = torch.no_grad()(lambda: prior.predict_noise(z, timesteps, tokens.repeat_interleave(batch, 0)))
    yield Candidate(name, "network", size, plain(predict))


def guidance_call(prior: DiffusionPrior, tokens: Tensor, batch: int, resolution: int) -> Call:
    """The distillation loss of `batch` random images and its gradient with respect to them."""
    guidance: Guidance = build(SDSConfig(), prior)
    views = fixed_views(batch, resolution, tokens.device)
    uncond, text = (row.expand(batch, -1, -1) for row in tokens)
    embedding = PromptEmbeddings(text=text, uncond=uncond)
    random = torch.Generator().manual_seed(SEED)
    image = torch.rand(batch, resolution, resolution, 3, generator=random).to(tokens.device).requires_grad_()

    def call() -> None:
        image.grad = None
        guidance(image, embedding, views).loss.backward()

    return plain(call)
