"""Random numbers of an objective: every draw of a step has a stream of its own."""

import torch
from views import make_batch

from threefusion.guidance.prior.latent import LatentPrior
from threefusion.guidance.prior.settings import LatentConfig
from threefusion.guidance.score import ScoreDistillation
from threefusion.guidance.settings import SDSConfig
from threefusion.types import ViewBatch


def test_the_posterior_noise_and_the_diffusion_noise_are_independent(pipelines, monkeypatch):
    """Noise shared by the latents' posterior and the forward process would bias the gradient."""
    prior = LatentPrior(LatentConfig(model=str(pipelines["sd-epsilon"]), dtype="float32", posterior="sample"))
    guidance, views = ScoreDistillation(SDSConfig(), prior), make_batch(4)
    draws, randn = [], ViewBatch.randn
    monkeypatch.setattr(ViewBatch, "randn", lambda batch, *args: draws.append(randn(batch, *args)) or draws[-1])
    noised = guidance.noised(guidance.encode(torch.rand(4, 32, 32, 3), views), views)
    posterior, noise = draws
    assert torch.equal(noised.noise, noise)
    correlation = torch.corrcoef(torch.stack([posterior.flatten(), noise.flatten()]))[0, 1]
    assert abs(correlation) < 4 / noise.numel() ** 0.5
