"""Objectives of other kinds than the built-in ones: with a trained critic, without a prior, and with a forgotten parameter."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from threefusion.guidance.guidance import DiffusionGuidance, Guidance, GuidanceOutput
from threefusion.guidance.settings import DiffusionGuidanceConfig, GuidanceConfig
from threefusion.registry import register


@dataclass(frozen=True)
class ToyVSDConfig(DiffusionGuidanceConfig):
    """Variational score distillation with a critic of twelve parameters."""


@register("toy-vsd")
class ToyVSD(DiffusionGuidance):
    """The prior's prediction minus that of a critic, which learns to predict the noise on the renders (arXiv 2305.16213)."""

    def __init__(self, cfg: ToyVSDConfig, prior) -> None:
        super().__init__(cfg, prior)
        self.critic = nn.Conv2d(3, 3, 1)

    def trainable(self) -> nn.ModuleDict:
        return nn.ModuleDict({"critic": self.critic})

    def forward(self, render, prompt, views) -> GuidanceOutput:
        x = self.encode(self.image(render), views)
        noised = self.noised(x.detach(), views)
        with torch.no_grad():
            gradient = self.prior.predict(noised.z, noised.t, self.embed(prompt, views).text).noise - self.critic(noised.z)
        critic_loss = (self.critic(noised.z) - noised.noise).square().sum() / len(views)
        return GuidanceOutput((x * gradient).sum() / len(views), {}, critic_loss=critic_loss)


@dataclass(frozen=True)
class ToyClipConfig(GuidanceConfig):
    """A similarity of images and texts."""


@register("toy-clip")
class ToyClip(Guidance):
    """One minus the cosine between an image's mean colour and the first letters of its text; no diffusion prior."""

    def __init__(self, cfg: ToyClipConfig) -> None:
        super().__init__(cfg)

    def embed_texts(self, texts: list[str]) -> None:
        letters = torch.tensor([[float(ord(letter)) for letter in text[-3:].ljust(3)] for text in texts])
        self.rows = {text: row for row, text in enumerate(texts)}
        self.register_buffer("letters", nn.functional.normalize(letters, dim=1), persistent=False)

    def forward(self, render, prompt, views) -> GuidanceOutput:
        wanted = prompt.weight @ self.letters[[self.rows[text] for text in prompt.texts]]
        color = self.image(render).mean((1, 2))
        similarity = nn.functional.cosine_similarity(color, wanted)
        return GuidanceOutput((1 - similarity).mean(), {"similarity": similarity.detach().mean()})


@dataclass(frozen=True)
class ForgetfulConfig(GuidanceConfig):
    """An objective with a parameter outside `trainable`."""


@register("toy-forgetful")
class Forgetful(ToyClip):
    """Never tells of its parameter."""

    def __init__(self, cfg: ForgetfulConfig) -> None:
        super().__init__(cfg)
        self.scale = nn.Parameter(torch.ones(()))
