"""Many independent numbers that an objective moves: every pixel and channel of some images under a Gaussian prior."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from views import gaussian_texts, make_batch, prompt_of

from threefusion.guidance.prior.conditioning import Conditioning, Prediction
from threefusion.guidance.prior.critic import Critic
from threefusion.guidance.prior.gaussian import GaussianPrior
from threefusion.guidance.prior.settings import GaussianConfig
from threefusion.registry import build
from threefusion.testing import image_render

MEAN, STD = 1.3, 0.6
"""Of the prior, in its space."""


class PopulationCritic(Critic):
    """The exact predictor of the Gaussian with the mean and the standard deviation of the particles themselves."""

    def __init__(self, prior: GaussianPrior, particles: Tensor) -> None:
        super().__init__()
        self.prior, self.particles = prior, particles
        self.unused = nn.Parameter(torch.zeros(1))

    @property
    def schedule(self):
        return self.prior.schedule

    def forward(self, z: Tensor, t: Tensor, condition: Conditioning, pose: Tensor) -> Prediction:
        colour = torch.cat([self.particles.mean().expand(3), 2 * self.particles.std(correction=0).view(1)])
        return self.prior.predict(z, t, Conditioning(colour.view(1, 1, 4).expand(len(z), 1, 4)))


def start(views: int, size: int = 8) -> Tensor:
    """Colours that differ, far from the prior."""
    return (0.2 + 0.05 * torch.randn(views, size, size, 3, generator=torch.Generator().manual_seed(0))).requires_grad_()


def move(settings, image: Tensor, steps: int, critic=None) -> tuple[float, float]:
    """Mean and standard deviation in the prior's space after gradient descent with an objective; `critic` replaces its own."""
    prior = GaussianPrior(GaussianConfig(image_size=image.shape[1]))
    guidance = build(settings, prior)
    guidance.embeddings = texts = gaussian_texts(((MEAN + 1) / 2, STD), ((MEAN + 1) / 2, STD))
    if critic is not None:
        guidance.critic = critic(prior, image.detach())
    trained = list(guidance.trainable().parameters())
    rates = [(torch.optim.SGD([image], 1.0), 0.1 * len(image)), (torch.optim.Adam(trained or [image.detach()], 1.0), 0.05)]
    for step in range(steps):
        output = guidance(image_render(image), prompt_of(texts, len(image)), make_batch(len(image), step))
        loss = output.loss if output.critic_loss is None else output.loss + output.critic_loss
        loss.backward()
        for optimizer, rate in rates:
            for group in optimizer.param_groups:
                group["lr"] = rate * (1 - step / steps)
            optimizer.step()
            optimizer.zero_grad()
    x = 2 * image.detach() - 1
    return x.mean().item(), x.std().item()
