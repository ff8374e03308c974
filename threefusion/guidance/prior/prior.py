"""The frozen diffusion model behind an objective: one contract for pixel, latent and closed-form models."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from threefusion.component import Component
from threefusion.errors import UserError
from threefusion.guidance.prior.conditioning import Conditioning, Prediction, PromptConditioning, Target
from threefusion.guidance.prior.critic import Critic
from threefusion.guidance.prior.schedule import NoiseSchedule
from threefusion.guidance.prior.settings import CriticConfig
from threefusion.types import RenderOutput, ViewBatch, Want


class TextEncoder(ABC):
    """Encodes texts into the conditioning of a prior's network; may run several networks."""

    key: str | None = None
    """Identifies model, revision, precision and token length in the cache on disk; None: not worth caching."""

    @abstractmethod
    def encode(self, texts: list[str]) -> Conditioning:
        """One item per text, float32 on the CPU. The encoder's networks are loaded for the call and freed after it."""


@dataclass
class Evaluations:
    """Counts the evaluations of a prior's network."""

    calls: int = 0
    images: int = 0
    """Noised images over all calls."""


class DiffusionPrior(Component):
    """A frozen diffusion model over images, in its own space `[B C h w]` (pixels in [-1, 1], or latents).

    Networks are kept out of the module tree: they follow the prior to its device, but are never trained, never listed among
    parameters, never cast by a trainer's precision and never in a checkpoint.
    """

    kind: ClassVar[str] = "prior"

    stochastic_encoder: ClassVar[bool] = False
    """Whether `encode` wants normal noise, one draw per view."""
    target: Target = "noise"
    """What the network was trained to predict."""
    group_size: int = 1
    """Views that the network denoises jointly; they share one t and lie next to each other in a batch."""
    reads_render: bool = False
    """Whether `condition` needs a render."""
    fixed_shapes: bool = False
    """Whether the network is prepared at length for each number of items."""
    chosen: str | None = None
    """What `execution: auto` has chosen, which a checkpoint holds; None until then."""

    def __init__(self, cfg=None) -> None:
        super().__init__(cfg)
        self.evaluations = Evaluations()
        self._networks: dict[str, nn.Module] = {}
        self._device = torch.device("cpu")
        self._schedule: NoiseSchedule | None = None

    @property
    def execution(self) -> str:
        """How the network that predicts runs now."""
        return "eager"

    @property
    def device(self) -> torch.device:
        """Where the networks run."""
        return self._device

    @property
    def storage(self) -> torch.device:
        """Where the networks' weights are kept: where they run, unless a prior overrides it."""
        return self._device

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int, int]:
        """(C, h, w) of the prior's space."""

    def largest_layer(self, views: int) -> int:
        """Roughly the number of elements in the largest activation for this many views; 0 without networks."""
        return 0

    @property
    def schedule(self) -> NoiseSchedule:
        """The noise schedule, on the prior's device."""
        if self._schedule is None:
            self._schedule = self.read_schedule().to(self._device)
        return self._schedule

    @abstractmethod
    def read_schedule(self) -> NoiseSchedule:
        """The noise schedule of the model's own settings; called once."""

    def load(self) -> None:
        """Load the networks now rather than at their first use; does nothing the second time."""

    def restore_choice(self, chosen: str | None) -> None:
        """Go on with what `execution: auto` had chosen before a checkpoint was written.

        Raises:
            UserError: this machine cannot.
        """
        self.chosen = chosen

    def weight_bytes(self) -> int:
        """Memory of the loaded networks' weights, in their present precision."""
        return sum(tensor.nbytes for network in self._networks.values() for tensor in network.state_dict().values())

    @abstractmethod
    def encode(self, rgb: Float[Tensor, "B H W 3"], noise: Float[Tensor, "B C h w"] | None = None) -> Float[Tensor, "B C h w"]:
        """Colours in [0, 1], resized to the prior's own size, in the prior's space, float32; gradient flows.

        `noise` is standard normal and used only where `stochastic_encoder` is true.
        """

    def predict(self, z: Float[Tensor, "B C h w"], t: Float[Tensor, "B"], condition: Conditioning) -> Prediction:
        """The network's prediction at noised states, float32, convertible to noise, clean sample or velocity.

        Every evaluation of the network goes through here and is counted in `evaluations`. What overflows becomes NaN, which no
        later clamp makes finite: such a step is skipped.
        """
        self.evaluations.calls += 1
        self.evaluations.images += len(z)
        alpha, sigma = self.schedule.coefficients(t)
        output = self._predict(z, t, condition)
        output = torch.where(output.isfinite(), output, torch.nan)
        return Prediction(output, self.target, z, alpha, sigma, self.schedule.rates(alpha, sigma))

    @abstractmethod
    def _predict(self, z: Float[Tensor, "B C h w"], t: Float[Tensor, "B"], condition: Conditioning) -> Float[Tensor, "B C h w"]:
        """The network's output in the form that `target` names, float32."""

    @property
    def wants(self) -> Want:
        """What `condition` reads of a render beside image, opacity and depth."""
        return Want()

    def condition(self, prompt: PromptConditioning, views: ViewBatch, render: RenderOutput | None) -> PromptConditioning:
        """The prompts with the network's other conditions: cameras, a reference image, depth; none by default.

        `render` is None where there is only an image.
        """
        return prompt

    def critic(self, cfg: CriticConfig) -> Critic:
        """A trainable copy of the predictor, which answers as the prior does until it is trained.

        Raises:
            UserError: the prior has none.
        """
        raise UserError(f"guidance: needs a critic, which {type(self).__name__} does not have")

    @abstractmethod
    def decode(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B H W 3"]:
        """Colours in [0, 1] of points in the prior's space, for display; no part of a loss."""

    @abstractmethod
    def text_encoder(self) -> TextEncoder:
        """The encoder that belongs to the network."""

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> DiffusionPrior:
        """Follow a move to another device, and nothing else: the precision is the prior's own choice."""
        super()._apply(fn, recurse)
        self._device = fn(torch.empty(0, device=self._device)).device
        if self._schedule is not None:
            self._schedule = self._schedule.to(self._device)
        for network in self._networks.values():
            network.to(self.storage)
        return self
