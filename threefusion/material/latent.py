"""Latents of Stable Diffusion in place of colours."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from threefusion.material.material import Material
from threefusion.material.settings import LatentConfig
from threefusion.types import FieldSample, Lights, RenderOutput

COLORS_OF_LATENTS = ((0.298, 0.207, 0.208), (0.187, 0.286, 0.173), (-0.158, 0.189, 0.264), (-0.184, -0.271, -0.473))
"""Red, green and blue, in [-1, 1], of each scaled latent channel of Stable Diffusion 1: measured by Kevin Turner
(discuss.huggingface.co/t/decoding-latents-to-rgb-without-upscaling/23204), and where Latent-NeRF begins."""


class LatentMaterial(Material):
    """The features are the four latents of Stable Diffusion at a point; a trained 4 x 3 matrix shows them as colours.

    Latent-NeRF (arXiv 2211.07600), whose RGB refinement is `guidance.input: image`.

    There is no light: every shading shows the same.
    """

    feature_width: ClassVar[int] = 4
    unlit_reads_features: ClassVar[bool] = True
    channels: ClassVar[int] = 4

    def __init__(self, cfg: LatentConfig) -> None:
        super().__init__(cfg)
        self.colors = nn.Parameter(torch.tensor(COLORS_OF_LATENTS))

    def needs_normal(self, shading: Int[Tensor, "B"]) -> bool:
        """Never."""
        return False

    def forward(self, sample: FieldSample, light: Lights, shading: Int[Tensor, "N"]) -> Float[Tensor, "N 4"]:
        """The features themselves."""
        return sample.features

    def behind(self, color: Float[Tensor, "R 3"]) -> Float[Tensor, "R 4"]:
        """The smallest latents that are shown as these colours."""
        return (2 * color - 1) @ torch.linalg.pinv(self.colors.detach()).to(color)

    def developed(self, render: RenderOutput) -> RenderOutput:
        """The render in colour, with its latents."""
        return replace(render, image=self.shown(render.image), latents=render.image)

    def shown(self, latents: Float[Tensor, "*N 4"]) -> Float[Tensor, "*N 3"]:
        """The colours of latents, about in [0, 1]."""
        return 0.5 * latents @ self.colors.to(latents) + 0.5

    def textures(self, sample: FieldSample) -> dict[str, Float[Tensor, "N C"]]:
        """The colours as `base_color`."""
        return {"base_color": self.shown(sample.features).clamp(0, 1)}

    def features_of(self, textures: dict[str, Float[Tensor, "N C"]]) -> Float[Tensor, "N D"]:
        """The smallest latents that are shown as the base colour."""
        return self.behind(textures["base_color"]).detach()
