"""A viewer without a page: a test says what people do at it, call by call, and reads what they would see."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import cos, sin
from typing import Any, ClassVar

import numpy as np

from threefusion.registry import register
from threefusion.viewer.settings import ViewerConfig
from threefusion.viewer.viewer import Event, Looked, Pose, Viewer

Script = Callable[[int], list[Event]]


@dataclass(frozen=True)
class ScriptedConfig(ViewerConfig):
    """Nothing to choose."""


@register("scripted")
class Scripted(Viewer):
    """Plays `script`, called before every step and repeatedly in a pause, with the number of the call."""

    script: ClassVar[Script] = staticmethod(lambda call: [])
    seen: ClassVar[dict[str, list[Any]]] = {}
    fails_in: ClassVar[str] = ""

    def __init__(self, cfg: ScriptedConfig) -> None:
        super().__init__(cfg)
        self.calls = 0

    def note(self, what: str, value: Any = None) -> None:
        if what == self.fails_in:
            raise RuntimeError(f"broken {what}")
        self.seen.setdefault(what, []).append(value)

    def open(self):
        self.note("open")
        return "scripted://"

    def prepare(self, title, channels, dials, start):
        self.note("prepare", (title, channels, dials, start))

    def take(self, seconds=0.0):
        self.note("take")
        self.calls += 1
        return self.script(self.calls)

    def paint(self, client, image):
        self.note("paint", (client, image))

    def tell(self, status):
        self.note("tell", status)

    def plot(self, steps, curves):
        self.note("plot", (steps, curves))

    def explain(self, pictures):
        self.note("explain", pictures)

    def show_mesh(self, model):
        self.note("mesh", model)

    def close(self):
        self.note("close")


def played(script: Script, fails_in: str = "") -> dict[str, list[Any]]:
    """What is seen of the next run, whose people do what `script` says."""
    Scripted.script, Scripted.seen, Scripted.fails_in = staticmethod(script), {}, fails_in
    return Scripted.seen


def orbiting(call: int, client: int = 0) -> Looked:
    """A camera on its way round the scene."""
    angle = 0.3 * call + client
    c2w = np.array(
        [[-sin(angle), 0, cos(angle), 2 * cos(angle)], [cos(angle), 0, sin(angle), 2 * sin(angle)], [0, 1, 0, 0], [0, 0, 0, 1]]
    )
    return Looked(client, Pose(c2w, 0.8, 1.5))
