"""One call of the guidance with the bundled pixel prior, and its network alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch.utils.flop_counter import FlopCounterMode

from threefusion.guidance.embedding import TextEmbeddings
from threefusion.guidance.guidance import DiffusionGuidance
from threefusion.guidance.prior.conditioning import Conditioning
from threefusion.guidance.prior.prior import DiffusionPrior
from threefusion.guidance.prior.settings import PixelConfig
from threefusion.guidance.settings import SDSConfig
from threefusion.perf.report import REFERENCE
from threefusion.perf.scene import SEED, fixed_views
from threefusion.perf.timing import Call, Candidate, plain
from threefusion.registry import build
from threefusion.types import RenderOutput, ViewTexts

CONDITIONS = 2
"""The empty prompt and the text, in one call of the network."""


def guidance_candidates(batches: Sequence[int], device: torch.device) -> Iterator[Candidate]:
    """Score distillation with `toyworld-pixel`, and the call of its U-Net alone."""
    prior = build(PixelConfig(model="toyworld-pixel")).to(device)
    texts = prior.text_encoder().encode(["", "a red mushroom"]).to(device)
    for batch in batches:
        yield from prior_candidates("torch", prior, texts, batch, prior.shape[1])


def prior_candidates(name: str, prior: DiffusionPrior, texts: Conditioning, batch: int, resolution: int) -> Iterator[Candidate]:
    """The guidance call on `batch` images and the network call in it; `texts` are the empty prompt and a text."""
    size = {"batch": batch, "resolution": resolution}
    call = guidance_call(prior, texts, batch, resolution)
    yield Candidate(name, "guidance", size, call, counts(prior, call) if name == REFERENCE else {})
    random = torch.Generator().manual_seed(SEED)
    z = torch.randn(CONDITIONS * batch, *prior.shape, generator=random).to(texts.tokens.device)
    t = torch.full((len(z),), 0.5, device=z.device)
    predict = torch.no_grad()(lambda: prior.predict(z, t, texts.repeat(batch)))
    yield Candidate(name, "network", size, plain(predict), counts(prior, plain(predict)) if name == REFERENCE else {})


def counts(prior: DiffusionPrior, call: Call) -> dict[str, int]:
    """Millions of floating-point operations of a call, in products and convolutions, and the networks' weights in kilobytes."""
    with FlopCounterMode(display=False) as counter:
        call(lambda name: None)
    return {"mflop": counter.get_total_flops() // 10**6, "weights": prior.weight_bytes() // 1000}


def guidance_call(prior: DiffusionPrior, texts: Conditioning, batch: int, resolution: int) -> Call:
    """The distillation loss of `batch` random images and its gradient with respect to them."""
    guidance: DiffusionGuidance = build(SDSConfig(), prior)
    guidance.embeddings = TextEmbeddings(["", "text"], texts)
    device = texts.tokens.device
    views = fixed_views(batch, resolution, device)
    prompt = ViewTexts(("text",), torch.ones(batch, 1, device=device))
    random = torch.Generator().manual_seed(SEED)
    image = torch.rand(batch, resolution, resolution, 3, generator=random).to(device).requires_grad_()
    opaque = torch.ones_like(image[..., :1])

    def call() -> None:
        image.grad = None
        guidance(RenderOutput(image, opaque, opaque), prompt, views).loss.backward()

    return plain(call)
