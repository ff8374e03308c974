"""The frozen diffusion model that judges renders: one contract for pixel, latent and closed-form models."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from threefusion.component import Component


class TextEncoder:
    """Turns texts into the tokens that a prior's network attends to."""

    key: str | None = None
    """Identifies model, revision, precision and token length for the cache on disk; None: not worth caching."""

    def encode(self, texts: list[str]) -> Float[Tensor, "n L D"]:
        """One row of tokens per text, float32 on the CPU. The encoder's network is loaded for the call and freed after it."""
        raise NotImplementedError


class DiffusionPrior(Component):
    """A frozen variance-preserving diffusion model over images, in its own space `[B C h w]` (pixels in [-1, 1], or latents).

    Networks are kept out of the module tree: they follow the prior to its device, but are never trained, never listed among
    parameters, never cast by a trainer's precision and never in a checkpoint.
    """

    kind: ClassVar[str] = "prior"

    stochastic_encoder: ClassVar[bool] = False
    """Whether `encode` wants normal noise, one draw per view."""

    def __init__(self) -> None:
        super().__init__()
        self._networks: dict[str, nn.Module] = {}
        self._device = torch.device("cpu")
        self._table: Tensor | None = None

    @property
    def device(self) -> torch.device:
        """Where the networks run."""
        return self._device

    @property
    def storage(self) -> torch.device:
        """Where the networks' weights are kept: where they run, unless a prior says otherwise."""
        return self._device

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, h, w) of the prior's space."""
        raise NotImplementedError

    def largest_layer(self, views: int) -> int:
        """About how many numbers the largest layer of its networks holds when it judges so many views; 0 without networks."""
        return 0

    @property
    def alphas_cumprod(self) -> Float[Tensor, "T"]:
        """ᾱ_t of the noise schedule, float32 on the prior's device."""
        if self._table is None:
            self._table = self.read_schedule().to(self._device)
        return self._table

    def read_schedule(self) -> Float[Tensor, "T"]:
        """ᾱ_t as the model's own settings give it; asked for once."""
        raise NotImplementedError

    def load(self) -> None:
        """Read the networks now rather than at their first use; does nothing the second time."""

    def weight_bytes(self) -> int:
        """What the networks that have been read take in memory, in the precision they are in now."""
        return sum(tensor.nbytes for network in self._networks.values() for tensor in network.state_dict().values())

    def encode(self, rgb: Float[Tensor, "B H W 3"], noise: Float[Tensor, "B C h w"] | None = None) -> Float[Tensor, "B C h w"]:
        """Colours in [0, 1], resized to the prior's own size, in the prior's space, float32; gradient flows.

        `noise` is standard normal and used only where `stochastic_encoder` is true.
        """
        raise NotImplementedError

    def predict_noise(
        self, z: Float[Tensor, "B C h w"], timesteps: Int[Tensor, "B"], tokens: Float[Tensor, "B L D"]
    ) -> Float[Tensor, "B C h w"]:
        """The noise ε in z = alpha x + sigma ε as the model sees it, float32, whatever quantity it was trained to predict."""
        raise NotImplementedError

    def decode(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B H W 3"]:
        """Colours in [0, 1] of points in the prior's space, for looking at; no part of a loss."""
        raise NotImplementedError

    def text_encoder(self) -> TextEncoder:
        """The encoder that belongs to the network."""
        raise NotImplementedError

    def check_prompt(self, text: str) -> list[str]:
        """Warnings about words that the prior does not know.

        Raises:
            UserError: the prior cannot know what is meant.
        """
        return []

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> DiffusionPrior:
        """Follow a move to another device, and nothing else: precision is the prior's own business."""
        super()._apply(fn, recurse)
        self._device = fn(torch.empty(0, device=self._device)).device
        if self._table is not None:
            self._table = self._table.to(self._device)
        for network in self._networks.values():
            network.to(self.storage)
        return self
