"""What a diffusion network is conditioned on, and what it predicts."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.machine.tensors import TensorData

Target = Literal["noise", "clean", "velocity"]
"""What a network was trained to predict."""


@dataclass(frozen=True)
class Conditioning(TensorData):
    """The conditioning of B noised items.

    >>> text, empty = Conditioning(torch.ones(2, 1, 4)), Conditioning(torch.zeros(2, 1, 4))
    >>> len(Conditioning.cat([empty, text]))
    4
    """

    tokens: Float[Tensor, "B L D"]
    """What the network's cross-attention attends to."""
    pooled: Float[Tensor, "B P"] | None = None
    """One vector per text (SDXL, SD3)."""
    camera: Float[Tensor, "B M"] | None = None
    """A flattened camera pose (MVDream)."""
    control: Float[Tensor, "B K H W"] | None = None
    """Images of ControlNets in [0, 1], side by side in the channels."""
    reference: Float[Tensor, "B R P"] | None = None
    """Embeddings of the pictures of IP-Adapters."""
    image: Float[Tensor, "B C h w"] | None = None
    """A reference image in the prior's space (Zero-1-to-3)."""

    def __len__(self) -> int:
        return len(self.tokens)

    def __getitem__(self, index: Tensor | slice) -> Conditioning:
        """The items at `index`."""
        return self._map(lambda value: value[index])

    def repeat(self, count: int) -> Conditioning:
        """All items, `count` times over."""
        return self._map(lambda value: value.repeat(count, *(1,) * (value.ndim - 1)))

    def expand(self, count: int) -> Conditioning:
        """One item as `count` equal ones, without a copy."""
        return self._map(lambda value: value.expand(count, *value.shape[1:]))

    def mix(self, weight: Float[Tensor, "B V"]) -> Conditioning:
        """Weighted sums of the items, one per row of `weight`.

        >>> Conditioning(torch.tensor([[[0.0]], [[1.0]]])).mix(torch.tensor([[0.25, 0.75]])).tokens.item()
        0.75
        """
        return self._map(lambda value: torch.einsum("bv,v...->b...", weight, value))

    @staticmethod
    def cat(parts: Sequence[Conditioning]) -> Conditioning:
        """The items of all parts, one after the other; a field is None if it is None in every part."""
        columns = {f.name: [getattr(part, f.name) for part in parts] for f in fields(Conditioning)}
        return Conditioning(**{k: None if all(v is None for v in column) else torch.cat(column) for k, column in columns.items()})

    def _map(self, function: Callable[[Tensor], Tensor]) -> Conditioning:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return Conditioning(**{name: None if value is None else function(value) for name, value in values.items()})


@dataclass(frozen=True)
class PromptConditioning:
    """The conditioning of B views under each kind of prompt."""

    text: Conditioning
    uncond: Conditioning
    """The empty prompt, always: negative prompts are kept apart."""
    negatives: tuple[Conditioning, ...] = ()
    parts: tuple[Conditioning, ...] = ()
    """The texts that `text` is mixed from, one per column of `weight`."""
    weight: Float[Tensor, "B V"] | None = None
    """Share of each part in `text`."""
    variants: Mapping[str, Conditioning] = field(default_factory=dict)
    """Further texts by template; see `DiffusionGuidance.templates`."""

    def map(self, function: Callable[[Conditioning], Conditioning]) -> PromptConditioning:
        """The same prompts with `function` applied to the conditioning of each."""
        return PromptConditioning(
            function(self.text),
            function(self.uncond),
            tuple(function(part) for part in self.negatives),
            tuple(function(part) for part in self.parts),
            self.weight,
            {name: function(part) for name, part in self.variants.items()},
        )


@dataclass(frozen=True)
class Prediction:
    """A network's output at z = alpha x + sigma noise, in the three equivalent forms `noise`, `clean` and `velocity`.

    >>> one = torch.ones(1, 1, 1, 1)
    >>> flow = Prediction(-one, "velocity", z=one, alpha=0.75 * one, sigma=0.25 * one, rates=(-one, one))
    >>> flow.noise.item(), flow.clean.item()
    (0.25, 1.25)
    """

    output: Float[Tensor, "B C h w"]
    target: Target
    z: Float[Tensor, "B C h w"]
    alpha: Float[Tensor, "B 1 1 1"]
    sigma: Float[Tensor, "B 1 1 1"]
    rates: tuple[Float[Tensor, "B 1 1 1"], Float[Tensor, "B 1 1 1"]]
    """`NoiseSchedule.rates`."""

    @property
    def noise(self) -> Float[Tensor, "B C h w"]:
        """The predicted noise."""
        if self.target == "noise":
            return self.output
        if self.target == "velocity":
            return self.alpha * self.output - self.rates[0] * self.z
        return (self.z - self.alpha * self.output) / self.sigma

    @property
    def clean(self) -> Float[Tensor, "B C h w"]:
        """The predicted clean sample x."""
        if self.target == "clean":
            return self.output
        if self.target == "velocity":
            return self.rates[1] * self.z - self.sigma * self.output
        return (self.z - self.sigma * self.output) / self.alpha

    def exact(self, x: Float[Tensor, "B C h w"], noise: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h w"]:
        """What the network should have put out for a state made from `x` and `noise`."""
        if self.target == "velocity":
            return self.rates[0] * x + self.rates[1] * noise
        return noise if self.target == "noise" else x

    @property
    def velocity(self) -> Float[Tensor, "B C h w"]:
        """The predicted velocity: alpha noise - sigma x on a variance-preserving schedule, noise - x on a rectified flow."""
        if self.target == "velocity":
            return self.output
        return self.rates[0] * self.clean + self.rates[1] * self.noise
