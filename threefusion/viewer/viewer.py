"""The base class of viewers, and what the people at one do."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from threefusion.component import Component
from threefusion.viewer.settings import ViewerConfig


@dataclass(frozen=True)
class Pose:
    """Where somebody looks from."""

    c2w: np.ndarray
    """Camera to world, `[4, 4]`, OpenGL axes."""
    fovy: float
    """Vertical field of view in radians."""
    aspect: float
    """Width of the window over its height."""


@dataclass(frozen=True)
class Looked:
    """A client's camera has moved; the first time, the client has come."""

    client: int
    pose: Pose


@dataclass(frozen=True)
class Left:
    """A client has gone."""

    client: int


@dataclass(frozen=True)
class Chose:
    """Another channel is wanted, or the exported mesh, which a page shows by itself."""

    channel: str


@dataclass(frozen=True)
class Pressed:
    """A button was pressed: `pause`, `resume`, `save`, `export` or `stop`."""

    button: str


@dataclass(frozen=True)
class Turned:
    """A setting is wanted to be `value` from now on."""

    setting: str
    value: float


Event = Looked | Left | Chose | Pressed | Turned


@dataclass(frozen=True)
class Dial:
    """A number of the config that may be changed during the training."""

    setting: str
    """Its dotted path, such as `guidance.guidance_scale`."""
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Status:
    """What a page says about a training."""

    step: int
    steps: int | None
    """Of the whole training or stage; None if a time limit ends it."""
    rate: float
    """Steps per second; 0 before it is known."""
    phases: Mapping[str, float] = field(default_factory=dict)
    """Milliseconds of a step."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """Of objectives and loss terms in this step."""
    settings: Mapping[str, float] = field(default_factory=dict)
    """Values of the dials in this step."""
    paused: bool = False
    note: str = ""
    """What has happened last."""


class Viewer(Component):
    """A page that shows a training while it runs. Constructed with `(cfg)`.

    All methods are called by the training's thread, between two steps. What people do at the page waits as `Event`s until the
    training takes it: a viewer's own threads touch nothing of the training.
    """

    kind: ClassVar[str] = "viewer"
    cfg: ViewerConfig

    @abstractmethod
    def open(self) -> str:
        """Begin to serve.

        Returns:
            How to reach it: a link, and more lines if more has to be done.

        Raises:
            UserError: it cannot listen there.
        """

    @abstractmethod
    def prepare(self, title: str, channels: Sequence[str], dials: Sequence[Dial], start: Pose) -> None:
        """A training begins, or the next stage of one: what can be seen of it, what can be changed, and where people stand."""

    @abstractmethod
    def take(self, seconds: float = 0.0) -> list[Event]:
        """What has happened since the last call; waits up to `seconds` for something."""

    @abstractmethod
    def paint(self, client: int, image: np.ndarray) -> None:
        """Show a client its picture, `[H, W, 3]` in 8 bits."""

    @abstractmethod
    def tell(self, status: Status) -> None:
        """Show everybody how far the training is."""

    @abstractmethod
    def plot(self, steps: np.ndarray, curves: Mapping[str, np.ndarray]) -> None:
        """Show everybody the curves of losses and metrics: `[N]` steps, and `[N]` values by name, NaN where there is none."""

    @abstractmethod
    def explain(self, pictures: Mapping[str, np.ndarray]) -> None:
        """Show everybody what the prior was given and what it wanted, by caption, `[H, W, 3]` in 8 bits."""

    @abstractmethod
    def show_mesh(self, model: Path) -> None:
        """Show everybody who wants to see the mesh an exported GLB file."""

    @abstractmethod
    def close(self) -> None:
        """Stop serving; nothing happens if it does not serve."""
