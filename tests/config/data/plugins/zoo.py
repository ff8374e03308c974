"""A loss with a field of every type that a config can hold."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from threefusion.config import Schedule, Settings, literal, slot
from threefusion.config.fields import bounded, located
from threefusion.loss.loss import LossTerm
from threefusion.loss.settings import LossConfig
from threefusion.registry import register
from threefusion.types import RenderOutput, ViewBatch

LARGEST = 10
ANIMALS = Literal["lion", "zebra", "okapi"]


def describe_range(largest: int) -> str:
    """The allowed range in words."""
    return f"between 0 and {largest}"


@dataclass(frozen=True)
class House(Settings):
    """One of a list."""

    plan: str = located(MISSING)
    """A drawing of it."""
    rooms: int = bounded(1, 1, 9)
    """How many it has."""


@dataclass(frozen=True)
class ZooConfig(LossConfig):
    """Every type there is."""

    count: int = 3
    """How many."""
    ratio: float = 0.5
    """A number in [0, 1]."""
    open: bool = True
    """Whether visitors may come in."""
    title: str = literal("zoo")
    """Over the gate."""
    motto: str | None = None
    """Under the gate."""
    animal: ANIMALS = "lion"
    """Which one is shown."""
    span: tuple[float, float] = (0.0, 1.0)
    """From and to."""
    names: list[str] = field(default_factory=list)
    """Any number of names."""
    sizes: tuple[int, ...] = (1, 2)
    """Any number of sizes."""
    rates: dict[str, float] = field(default_factory=dict)
    """Numbers by name."""
    amount: Schedule = field(default=Schedule.constant(1.0))
    """A number, or one that changes."""
    limit: int | None = None
    """No limit by default."""
    mode: bool | Literal["auto"] = "auto"
    """On, off or either."""
    model: str = "hub/name"
    """A folder or a hub id."""
    map: Path | None = None
    """A file."""
    houses: tuple[House, ...] = ()
    """Any number of settings."""
    maps: tuple[str, ...] = located(())
    """Any number of files."""
    encoding: Settings = slot("encoding", "frequency")
    """A component inside."""
    prior: Settings | None = slot("prior", None)
    """A component inside that may be absent."""

    def __post_init__(self) -> None:
        if not 0 <= self.count <= LARGEST:
            raise ValueError(f"count: {describe_range(LARGEST)}")
        if self.span[0] > self.span[1]:
            raise ValueError("the two ends of span are exchanged")


@register("zoo")
class Zoo(LossTerm):
    """Counts the animals that are seen.

    A second paragraph.
    """

    def __init__(self, cfg: ZooConfig) -> None:
        super().__init__(cfg)

    def forward(self, render: RenderOutput, batch: ViewBatch) -> Float[Tensor, ""]:
        """Its weight times the mean opacity."""
        return render.opacity.mean()


@dataclass(frozen=True)
class StrictConfig(LossConfig):
    """A config with a required value."""

    keeper: str = field(kw_only=True)
    """Who holds the key."""


@register("strict-zoo")
class StrictZoo(LossTerm):
    """A zoo that has to be given its keeper."""

    def __init__(self, cfg: StrictConfig) -> None:
        super().__init__(cfg)

    def forward(self, render: RenderOutput, batch: ViewBatch) -> Float[Tensor, ""]:
        """The mean opacity."""
        return render.opacity.mean()
