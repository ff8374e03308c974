"""A prior that several trainings in one process share: one copy of its networks, one call for their predictions."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.config import Settings
from threefusion.guidance.prior.batcher import Batcher
from threefusion.guidance.prior.conditioning import Conditioning, PromptConditioning, Target
from threefusion.guidance.prior.critic import Critic
from threefusion.guidance.prior.prior import DiffusionPrior, TextEncoder
from threefusion.guidance.prior.schedule import NoiseSchedule
from threefusion.guidance.prior.settings import CriticConfig
from threefusion.registry import build
from threefusion.types import RenderOutput, ViewBatch, Want


class SharedPrior(DiffusionPrior):
    """One training's share of a prior, with a counter of its own."""

    def __init__(self, pool: PriorPool, prior: DiffusionPrior, scene: int) -> None:
        super().__init__(prior.cfg)
        self._pool, self._scene = pool, scene
        # in a tuple, so that the module tree does not hold it: a training that ends moves its modules into main memory
        self._shared = (prior,)

    @property
    def prior(self) -> DiffusionPrior:
        """What is shared."""
        return self._shared[0]

    def __getattr__(self, name: str) -> Any:
        """What the classes of priors have beside the contract."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattribute__("_shared")[0], name)

    @property
    def device(self) -> torch.device:
        """Where the networks run."""
        return self.prior.device

    @property
    def storage(self) -> torch.device:
        """Where the networks' weights are kept."""
        return self.prior.storage

    @property
    def stochastic_encoder(self) -> bool:
        """Whether `encode` wants noise."""
        return self.prior.stochastic_encoder

    @property
    def target(self) -> Target:
        """What the network was trained to predict."""
        return self.prior.target

    @property
    def group_size(self) -> int:
        """Views that the network denoises jointly."""
        return self.prior.group_size

    @property
    def reads_render(self) -> bool:
        """Whether `condition` needs a render."""
        return self.prior.reads_render

    @property
    def fixed_shapes(self) -> bool:
        """Whether the network is prepared at length for each number of items."""
        return self.prior.fixed_shapes

    @property
    def chosen(self) -> str | None:
        """What `execution: auto` has chosen for all."""
        return self.prior.chosen

    @property
    def execution(self) -> str:
        """How the network that predicts runs now."""
        return self.prior.execution

    def restore_choice(self, chosen: str | None) -> None:
        """Go on with a choice, which holds for trainings that had not come so far, too."""
        if chosen is not None:
            self.prior.restore_choice(chosen)

    def on_step(self, step: int, generator: torch.Generator) -> None:
        """Tell the prior."""
        self.prior.on_step(step, generator)

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, h, w) of the prior's space."""
        return self.prior.shape

    def largest_layer(self, views: int) -> int:
        """The number of elements in the largest activation for this many views."""
        return self.prior.largest_layer(views)

    @property
    def schedule(self) -> NoiseSchedule:
        """The noise schedule."""
        return self.prior.schedule

    def read_schedule(self) -> NoiseSchedule:
        """The noise schedule of the model's own settings."""
        return self.prior.read_schedule()

    def load(self) -> None:
        """Load the networks, once for all."""
        self.prior.load()

    def weight_bytes(self) -> int:
        """Memory of the networks' weights, of which there is one copy."""
        return self.prior.weight_bytes()

    def encode(self, rgb: Float[Tensor, "B H W 3"], noise: Float[Tensor, "B C h w"] | None = None) -> Float[Tensor, "B C h w"]:
        """Colours in the prior's space, one training at a time."""
        with self._pool.lock:
            return self.prior.encode(rgb, noise)

    def decode(self, x: Float[Tensor, "B C h w"]) -> Float[Tensor, "B H W 3"]:
        """Colours of points in the prior's space, one training at a time."""
        with self._pool.lock:
            return self.prior.decode(x)

    def _predict(self, z: Float[Tensor, "B C h w"], t: Float[Tensor, "B"], condition: Conditioning) -> Float[Tensor, "B C h w"]:
        """The network's output; together with others unless it is differentiated, which each training does by itself."""
        if torch.is_grad_enabled() and z.requires_grad:
            with self._pool.lock:
                return self.prior._predict(z, t, condition)
        return self._pool.batcher.ask(self._scene, self.prior._predict, z, t, condition)

    @property
    def wants(self) -> Want:
        """What `condition` reads of a render."""
        return self.prior.wants

    def condition(self, prompt: PromptConditioning, views: ViewBatch, render: RenderOutput | None) -> PromptConditioning:
        """The prompts with the network's other conditions."""
        return self.prior.condition(prompt, views, render)

    def critic(self, cfg: CriticConfig) -> Critic:
        """A critic with a network of its own, which follows the training from device to device."""
        alone = copy.copy(self.prior)
        alone.evaluations, alone._networks = self.evaluations, copy.deepcopy(self.prior._networks)
        return alone.critic(cfg)

    def text_encoder(self) -> TextEncoder:
        """The encoder, which encodes the texts of all trainings when it is loaded for the first."""
        return self._pool.encoder_of(self.prior)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> SharedPrior:
        """Let what is shared follow to an accelerator, and not back: others may be using it there."""
        moved = fn(torch.empty(0, device=self.prior.device)).device
        if moved.type != "cpu" and moved != self.prior.device:
            self.prior._apply(fn, recurse)
        return self


class PriorPool:
    """The priors of several trainings, one for equal settings."""

    def __init__(self, batcher: Batcher, texts: Sequence[str]) -> None:
        """`texts` are those of all trainings, as far as they are known."""
        self.batcher, self.texts = batcher, tuple(dict.fromkeys(texts))
        self.lock = threading.RLock()
        self._built: list[tuple[Settings, DiffusionPrior]] = []
        self._encoded: dict[tuple[int, str], Conditioning] = {}

    @property
    def device(self) -> torch.device:
        """Where the priors run, the CPU before there is one."""
        return next((prior.device for _, prior in self._built), torch.device("cpu"))

    def share(self, cfg: Settings, scene: int) -> SharedPrior:
        """A training's share of the prior with these settings."""
        prior = next((prior for known, prior in self._built if known == cfg), None)
        if prior is None:
            prior = build(cfg)
            self._built.append((cfg, prior))
        return SharedPrior(self, prior, scene)

    def encoder_of(self, prior: DiffusionPrior) -> TextEncoder:
        """The text encoder of a prior, which remembers what it has encoded."""
        return _SharedTextEncoder(prior.text_encoder(), self.texts, self._encoded, id(prior))


class _SharedTextEncoder(TextEncoder):
    """A text encoder that is loaded once for all texts that are known to follow."""

    def __init__(
        self, encoder: TextEncoder, texts: Sequence[str], encoded: dict[tuple[int, str], Conditioning], owner: int
    ) -> None:
        self.encoder, self.texts, self.encoded, self.owner = encoder, texts, encoded, owner
        self.key = encoder.key

    def encode(self, texts: list[str]) -> Conditioning:
        """One item per text."""
        if any((self.owner, text) not in self.encoded for text in texts):
            missing = [text for text in dict.fromkeys((*texts, *self.texts)) if (self.owner, text) not in self.encoded]
            rows = self.encoder.encode(missing)
            self.encoded |= {(self.owner, text): rows[row : row + 1] for row, text in enumerate(missing)}
        return Conditioning.cat([self.encoded[self.owner, text] for text in texts])
