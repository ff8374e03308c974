"""Variational score distillation (ProlificDreamer, arXiv 2305.16213)."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from threefusion.config.fields import Schedule
from threefusion.guidance.denoiser import Denoiser
from threefusion.guidance.noised import NoisedViews
from threefusion.guidance.prior.conditioning import Conditioning, PromptConditioning
from threefusion.guidance.prior.critic import Critic
from threefusion.guidance.score import ScoreDistillation
from threefusion.guidance.settings import VSDConfig
from threefusion.types import RenderOutput, ViewBatch, ViewTexts

PLAIN = "plain"
"""The prompt of the critic among the variants of a prompt."""


class VSD(ScoreDistillation):
    """w(t) (guided prediction - prediction of a critic), which learns the distribution of the renders (eq. 9).

    The critic is shared by all scenes of a run. Where it knows the renders exactly, the gradient is that of a divergence between
    distributions of images, not of one image: scenes differ, and colours do not saturate.
    """

    cfg: VSDConfig
    critic: Critic
    reads_plain = True

    def trainable(self) -> nn.ModuleDict:
        """The critic; the first call makes it, from the prior's loaded network."""
        if "critic" not in self._modules:
            with torch.random.fork_rng(devices=[]):
                self.critic = self.prior.critic(self.cfg.critic)
        return nn.ModuleDict({"critic": self.critic})

    def rates(self) -> dict[str, Schedule]:
        """The critic's."""
        return {"critic": self.cfg.critic.lr}

    def embed(self, prompt: ViewTexts, views: ViewBatch, render: RenderOutput | None = None) -> PromptConditioning:
        """The prior's conditioning of every view, and the critic's under the text without a view, where the prompt has one."""
        embedded = super().embed(prompt, views, render)
        if prompt.plain is None:
            return embedded
        plain = ViewTexts((prompt.plain,), torch.ones_like(prompt.weight[:, :1]))
        return replace(embedded, variants={**embedded.variants, PLAIN: super().embed(plain, views, render).text})

    def baseline(self, noised: NoisedViews, denoiser: Denoiser, views: ViewBatch) -> Float[Tensor, "B C h w"]:
        """The critic's prediction."""
        self.trainable()
        return self.critic(noised.z, noised.t, critic_text(denoiser), poses(views)).noise

    def critic_loss(self, noised: NoisedViews, denoiser: Denoiser, views: ViewBatch) -> Float[Tensor, ""]:
        """The critic's diffusion loss on these views, at any time, with fresh noise and here and there without the camera."""
        x, schedule = noised.x, self.prior.schedule
        t = schedule.draw(views.rand_per_group("critic/time"), 0.0, 1.0)
        known = views.rand_per_group("critic/camera") >= self.cfg.critic.camera_dropout
        noise = views.randn("critic/noise", *x.shape[1:])
        return self.critic.loss(x, noise, t, critic_text(denoiser), poses(views) * known[:, None])


def critic_text(denoiser: Denoiser) -> Conditioning:
    """The words that the critic reads: those of the whole scene, or of each view where there are no such."""
    return denoiser.prompt.variants.get(PLAIN, denoiser.prompt.text)


def poses(views: ViewBatch) -> Float[Tensor, "B 16"]:
    """The camera-to-world matrices, row by row."""
    return views.camera.c2w.flatten(1)
