"""Diffusion over the latents of several views of one object, each with its camera, shaped as MVDream."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from threefusion.guidance.prior.conditioning import Conditioning, PromptConditioning
from threefusion.guidance.prior.known_models import NETWORKS
from threefusion.guidance.prior.latent import LatentPrior
from threefusion.guidance.prior.model_settings import ModelSettings
from threefusion.guidance.prior.multi_view_unet import is_multi_view_unet, read_multi_view_unet, translated
from threefusion.guidance.prior.settings import MultiViewConfig
from threefusion.types import RenderOutput, ViewBatch

CAMERA = 16
"""Numbers of a camera: a matrix of four rows."""


class MultiViewPrior(LatentPrior):
    """A U-Net over latents whose self-attention spans all views of a group, and that adds each view's camera to the time."""

    parts: ClassVar[tuple[str, ...]] = NETWORKS["multi-view"]
    class_embed_type: ClassVar[str | None] = "projection"
    takes_sizes: ClassVar[bool] = False
    cfg: MultiViewConfig

    def __init__(self, cfg: MultiViewConfig) -> None:
        super().__init__(cfg)
        self.group_size = cfg.views

    def read_settings(self, part: str) -> ModelSettings:
        """The settings of a part; those of a `MultiViewUNetModel` in the words of diffusers."""
        if part == "unet" and is_multi_view_unet(self.folder):
            return translated(self.folder)
        return super().read_settings(part)

    def check_settings(self, part: str, settings: ModelSettings) -> None:
        """Check also that the U-Net takes a camera.

        Raises:
            ModelError: as in the base class, or it takes something else.
        """
        super().check_settings(part, settings)
        if part == "unet":
            problem = f"expected {CAMERA}, the numbers of a camera"
            settings.refuse("projection_class_embeddings_input_dim", (CAMERA,), problem)

    def stored_network(self, part: str, dtype: torch.dtype | None) -> nn.Module:
        """A network as its file has it; the U-Net's self-attention spans the views of a group."""
        if part == "unet" and is_multi_view_unet(self.folder):
            network = read_multi_view_unet(self.folder, self.settings("unet"), dtype)
        else:
            network = super().stored_network(part, dtype)
        for name, module in network.named_modules():
            if name.endswith(".attn1"):
                module.set_processor(JointAttention(module.processor, self.group_size))
        return network

    def condition(self, prompt: PromptConditioning, views: ViewBatch, render: RenderOutput | None) -> PromptConditioning:
        """Every condition with each view's camera, the empty prompt too."""
        camera = camera_numbers(views.camera.c2w)
        return prompt.map(lambda condition: replace(condition, camera=camera))

    def network_inputs(
        self, z: Float[Tensor, "B C h w"], t: Float[Tensor, "B"], condition: Conditioning
    ) -> tuple[Float[Tensor, "B D h w"], Tensor, *tuple[Tensor, ...]]:
        """Noised latents, time, tokens, cameras."""
        assert condition.camera is not None
        return *super().network_inputs(z, t, condition), condition.camera.to(self.dtype)


class JointAttention:
    """Self-attention over the tokens of all views of a group, by the processor that would attend within one view."""

    def __init__(self, processor: Any, views: int) -> None:
        self.processor = processor
        self.views = views

    def __call__(self, attention: nn.Module, tokens: Float[Tensor, "B L D"], *args: Any, **options: Any) -> Tensor:
        """The attention's output for each view's tokens."""
        joint = tokens.reshape(len(tokens) // self.views, -1, tokens.shape[-1])
        return self.processor(attention, joint, *args, **options).reshape(tokens.shape)


def camera_numbers(c2w: Float[Tensor, "B 4 4"]) -> Float[Tensor, "B 16"]:
    """Camera-to-world matrices, row by row, at distance 1 from the origin: MVDream was trained without distances.

    >>> c2w = torch.eye(4)[None]
    >>> c2w[0, :3, 3] = torch.tensor([0.0, 3.0, 4.0])
    >>> camera_numbers(c2w)[0, 3:12:4].tolist(), c2w[0, :3, 3].tolist()
    ([0.0, 0.6000000238418579, 0.800000011920929], [0.0, 3.0, 4.0])
    """
    position = functional.normalize(c2w[:, :3, 3:], dim=1)
    return torch.cat([torch.cat([c2w[:, :3, :3], position], 2), c2w[:, 3:]], 1).flatten(1)
