"""One call of the guidance with the bundled pixel prior, and how much of it is the network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from threefusion.config import choose
from threefusion.guidance.guidance import Guidance
from threefusion.guidance.prior.prior import DiffusionPrior
from threefusion.perf.networks import unet_flops
from threefusion.perf.scene import SEED, fixed_views
from threefusion.perf.timing import Call, Candidate, Mark
from threefusion.perf.work import Work
from threefusion.registry import build
from threefusion.types import PromptEmbeddings

CONDITIONS = 2
"""The empty prompt and the text, in one call of the network."""
NETWORK, REST = "network", "everything else"


def guidance_candidates(batches: Sequence[int], device: torch.device) -> Iterator[Candidate]:
    """Score distillation with `toyworld-pixel`; the floor is that of the network's matrix products alone."""
    prior = build(choose("prior", "pixel", model="toyworld-pixel")).to(device)
    tokens = prior.text_encoder().encode(["", "a red mushroom"]).to(device)
    size = prior.shape[1]
    flops = unet_flops(prior.settings("unet"), CONDITIONS, tuple(tokens.shape[1:]))
    for batch in batches:
        work = Work(flops * batch, str(prior.dtype).removeprefix("torch."))
        call = guidance_call(prior, tokens, batch, size, device)
        yield Candidate("torch", "guidance", {"batch": batch, "resolution": size}, call, work)


def guidance_call(prior: DiffusionPrior, tokens: Tensor, batch: int, resolution: int, device: torch.device) -> Call:
    """One judgement of `batch` random images by `prior` and the gradient in them; `tokens [2 L D]` of no text and of a text."""
    guidance: Guidance = build(choose("guidance", "sds"), prior)
    views = fixed_views(batch, resolution, device)
    uncond, text = (row.expand(batch, -1, -1) for row in tokens)
    embedding = PromptEmbeddings(text=text, uncond=uncond)
    random = torch.Generator().manual_seed(SEED)
    image = torch.rand(batch, resolution, resolution, 3, generator=random).to(device).requires_grad_()

    def call(mark: Mark) -> None:
        image.grad = None
        with marked(prior, mark):
            guidance(image, embedding, views).loss.backward()
        mark(REST)

    return call


@contextmanager
def marked(prior: DiffusionPrior, mark: Mark) -> Iterator[None]:
    """Calls of `prior`'s network are the phase `network`, and what came before each is `everything else`."""
    predict_noise = prior.predict_noise

    def timed(z: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        mark(REST)
        predicted = predict_noise(z, timesteps, tokens)
        mark(NETWORK)
        return predicted

    prior.predict_noise = timed  # type: ignore[method-assign]
    try:
        yield
    finally:
        del prior.predict_noise
