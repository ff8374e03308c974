"""Large steps told by small ones.

Let the pixels of a step and its chunk of samples shrink together: the number of chunks stays, so does what is alive together, and
the memory is a constant plus so much per sample. Two small steps settle both; a test compares with the large one itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import sqrt

from threefusion.plan.step_memory import StepMemory
from threefusion.types import ViewBatch

SMALL_STEPS = (16384, 32768)
"""About how many samples the small steps look at."""


def scaled(measure: Callable[[ViewBatch], StepMemory], batch: ViewBatch, samples: int) -> StepMemory:
    """What a step of `batch` takes, which looks at `samples` samples; `measure` tells it of smaller ones, in smaller chunks."""
    first, second = (measure(shrunk(batch, small / samples)) for small in SMALL_STEPS)
    along = (samples - first.samples) / (second.samples - first.samples)

    def extended(name: str) -> int:
        a, b = getattr(first, name), getattr(second, name)
        return round(a + (b - a) * along)

    return replace(first, samples=samples, **{name: extended(name) for name in ("kept", "render", "guidance", "backward")})


def shrunk(batch: ViewBatch, share: float) -> ViewBatch:
    """The same views with about this share of the pixels."""
    camera = batch.camera
    height, width = (max(round(side * sqrt(share)), 1) for side in (camera.height, camera.width))
    return replace(batch, camera=replace(camera, height=height, width=width))
