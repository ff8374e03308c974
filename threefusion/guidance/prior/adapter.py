"""Critics of networks: low-rank changes of the attention layers (LoRA, arXiv 2106.09685), and an embedding of the camera."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from threefusion.errors import UserError
from threefusion.guidance.prior.conditioning import Conditioning, Prediction
from threefusion.guidance.prior.critic import Critic
from threefusion.guidance.prior.prior import DiffusionPrior
from threefusion.guidance.prior.schedule import NoiseSchedule
from threefusion.guidance.prior.settings import CriticConfig

NAME = "critic"
"""Of the adapter in the layers of peft."""
TIME_EMBEDDINGS = ("time_embedding", "time_text_embed")
"""Where the networks of diffusers embed the time: U-Nets, transformers."""


class AdaptedCritic(Critic):
    """A copy of the prior's network with LoRA in its attention layers; the frozen weights are the prior's own tensors.

    It runs eagerly, in the precision of the prior's network; what is trained is float32.
    """

    def __init__(self, network: nn.Module, cfg: CriticConfig, prior_with: Callable[[nn.Module], DiffusionPrior]) -> None:
        super().__init__()
        layers = attention_layers(network)
        if not layers:
            raise UserError(f"guidance.critic: {type(network).__name__} has no attention layers that LoRA could change")
        adapted = copy_around(network, layers)
        self.lora = add_lora(adapted, layers, cfg)
        self.camera = add_camera(adapted) if cfg.camera else None
        self.requires_grad_().to(torch.float32)
        self.twin = prior_with(adapted)

    @property
    def schedule(self) -> NoiseSchedule:
        """The prior's."""
        return self.twin.schedule

    def forward(
        self, z: Float[Tensor, "B C h w"], t: Float[Tensor, "B"], condition: Conditioning, pose: Float[Tensor, "B 16"]
    ) -> Prediction:
        """One evaluation of the network with LoRA."""
        if self.camera is not None:
            self.camera.pose = pose
        return self.twin.predict(z, t, condition)


class CameraEmbedding(nn.Sequential):
    """Two layers from a camera-to-world matrix to a shift of the time embedding, 0 at first (arXiv 2305.16213)."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.Linear(16, width), nn.SiLU(), nn.Linear(width, width))
        nn.init.zeros_(self[-1].weight)
        nn.init.zeros_(self[-1].bias)
        self.pose: Float[Tensor, "B 16"] | None = None
        """Of the call to come."""


class Shifted(nn.Module):
    """A frozen embedding of the time, shifted by that of the camera."""

    def __init__(self, embedding: nn.Module, camera: CameraEmbedding) -> None:
        super().__init__()
        self.embedding, self.camera = embedding, camera

    def forward(self, *inputs: Any, **options: Any) -> Float[Tensor, "B D"]:
        """The sum of both, in the precision of the time's."""
        embedded = self.embedding(*inputs, **options)
        return embedded + self.camera(self.camera.pose).to(embedded.dtype)


def attention_layers(network: nn.Module) -> list[str]:
    """The names of all linear layers of the network's attention blocks, whatever its architecture."""
    blocks = [name for name, module in network.named_modules() if hasattr(module, "to_q")]
    return [
        name
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear) and any(name.startswith(f"{block}.") for block in blocks)
    ]


def copy_around(network: nn.Module, layers: list[str]) -> nn.Module:
    """A copy in which `layers` can be replaced: it shares all tensors with `network`, and all modules without such a layer."""
    above = {""} | {".".join(parts[:count]) for parts in (name.split(".") for name in layers) for count in range(1, len(parts))}
    shared = [module for name, module in network.named_modules() if name not in above]
    return copy.deepcopy(network, {id(kept): kept for kept in (*shared, *network.parameters(), *network.buffers())})


def add_lora(network: nn.Module, layers: list[str], cfg: CriticConfig) -> nn.ModuleDict:
    """The two matrices of each layer, whose product is 0 at first, after wrapping the layers of `network`."""
    from peft import LoraConfig, inject_adapter_in_model

    config = LoraConfig(
        r=cfg.rank, lora_alpha=cfg.rank if cfg.alpha is None else cfg.alpha, lora_dropout=0.0, target_modules=layers
    )
    inject_adapter_in_model(config, network, NAME)
    wrapped = {name: network.get_submodule(name) for name in layers}
    # a dot cannot be in the name of a module
    return nn.ModuleDict(
        {name.replace(".", "/"): nn.ModuleList([layer.lora_A[NAME], layer.lora_B[NAME]]) for name, layer in wrapped.items()}
    )


def add_camera(network: nn.Module) -> CameraEmbedding:
    """An embedding of the camera, after adding it to the time embedding of `network`.

    Raises:
        UserError: the network embeds the time in another way.
    """
    name = next((name for name in TIME_EMBEDDINGS if hasattr(network, name)), None)
    if name is None:
        problem = f"{type(network).__name__} has none of {', '.join(TIME_EMBEDDINGS)}, to which it would be added"
        raise UserError(f"guidance.critic.camera: {problem}. Set it to false")
    embedding = getattr(network, name)
    width = [module.out_features for module in embedding.modules() if isinstance(module, nn.Linear)][-1]
    camera = CameraEmbedding(width)
    setattr(network, name, Shifted(embedding, camera))
    return camera
