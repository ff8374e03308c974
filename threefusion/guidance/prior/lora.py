"""LoRA files of the user's, added to the frozen weights: W + scale alpha / rank B A. Nothing of them runs beside the network."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from safetensors import safe_open
from torch import Tensor, nn

from threefusion.guidance.prior.files import ModelError
from threefusion.guidance.prior.lora_keys import DENOISERS, Layer, read_layers
from threefusion.guidance.prior.original_names import original_names
from threefusion.guidance.prior.settings import LoraFile
from threefusion.machine.checksums import checksums


class Lora:
    """A LoRA file at a scale; its matrices are read when they are merged.

    Raises:
        ModelError: it cannot be read, or is no LoRA.
    """

    def __init__(self, cfg: LoraFile) -> None:
        self.file, self.scale = Path(cfg.path), cfg.scale
        self.layers = read_layers(self.file)
        with safe_open(self.file, framework="pt") as weights:
            self.alphas = [self._alpha(layer, weights) for layer in self.layers]

    @cached_property
    def key(self) -> str:
        """Identifies content and scale."""
        return f"{checksums(self.file)[0]} {self.scale}"

    def refuse_others(self, parts: Sequence[str]) -> None:
        """Check that all layers belong to the networks `parts` of a model.

        Raises:
            ModelError: some belong to another network.
        """
        others = [layer for layer in self.layers if not any(_belongs(layer, part) for part in parts)]
        if others:
            problem = f"{len(others)} of {len(self.layers)} layers belong to {others[0].part}, which the prior does not have"
            raise ModelError(f"{self.file}: {problem}: {others[0].name}")

    def changes(self, part: str) -> bool:
        """Whether any layer of the network `part` changes."""
        return any(_belongs(layer, part) for layer in self.layers)

    @torch.no_grad()
    def merge(self, network: nn.Module, part: str) -> None:
        """Add the change of the network `part` to its weights, in float32.

        Raises:
            ModelError: a key matches no layer, a shape does not fit, or a value is not finite.
        """
        names = _names(network)
        with safe_open(self.file, framework="pt") as weights:
            for layer, alpha in zip(self.layers, self.alphas, strict=True):
                if not _belongs(layer, part):
                    continue
                name = names.get(layer.name.replace(".", "_") if layer.flat else layer.name)
                if name is None:
                    raise ModelError(f"{self.file}: {layer.keys['down']} matches no layer of the model's {part}")
                weight = network.get_submodule(name).weight
                down, up = (weights.get_tensor(layer.keys[role]).float() for role in ("down", "up"))
                change = self._change(layer, down, up, weight.shape)
                strength = 1.0 if alpha is None else alpha / layer.rank
                weight += (self.scale * strength * change).to(weight)

    def _alpha(self, layer: Layer, weights: Any) -> float | None:
        """The alpha of a layer: of a key of its own, else of the file's settings; None if neither has one."""
        if (key := layer.keys.get("alpha")) is None:
            return layer.alpha
        stored = weights.get_tensor(key)
        if stored.numel() != 1:
            raise ModelError(f"{self.file}: {key} is no single number")
        return stored.item()

    def _change(
        self, layer: Layer, down: Float[Tensor, "r ..."], up: Float[Tensor, "out r ..."], shape: torch.Size
    ) -> Float[Tensor, "..."]:
        """B A in the shape of the weight, which may be a convolution's."""
        rank, inputs = layer.rank, shape[1:].numel()
        if up.shape[1:].numel() != rank or len(up) != shape[0] or down.numel() != rank * inputs:
            problem = f"{layer.name} has the shapes {tuple(up.shape)} and {tuple(down.shape)}"
            raise ModelError(f"{self.file}: {problem}, which do not fit a weight of {tuple(shape)}")
        change = (up.flatten(1) @ down.flatten(1)).view(shape)
        if not change.isfinite().all():
            raise ModelError(f"{self.file}: {layer.name} holds values that are not finite")
        return change

    def __str__(self) -> str:
        counts = Counter(layer.part for layer in self.layers)
        parts = " and ".join(
            f"{count} layer{'s' if count > 1 else ''} of the {part.replace('_', ' ')}" for part, count in counts.items()
        )
        pairs = zip(self.layers, self.alphas, strict=True)
        # without an alpha, kohya and diffusers take the rank
        texts = Counter(f"rank {layer.rank}, {'no alpha' if alpha is None else f'alpha {alpha:g}'}" for layer, alpha in pairs)
        strengths = "; ".join(text for text, _ in texts.most_common(3)) + ("; …" if len(texts) > 3 else "")
        return f"LoRA {self.file}: {parts} changed at scale {self.scale:g} ({strengths})"


def _belongs(layer: Layer, part: str) -> bool:
    """Whether a layer belongs to a network; one whose part the file does not say belongs to the denoiser."""
    return layer.part == part or (layer.part in ("denoiser", *DENOISERS) and part in DENOISERS)


def _names(network: nn.Module) -> dict[str, str]:
    """The layers with a weight matrix by every name that files have for them."""
    layers = [name for name, module in network.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    names = {name: name for name in layers}
    # transformers 5.6 dropped CLIP's prefix
    names |= {name.removeprefix("text_model."): name for name in layers} | {f"text_model.{name}": name for name in layers}
    names |= {old: name for name, old in original_names(network).items() if name in names}
    return names | {old.replace(".", "_"): name for old, name in names.items()}
