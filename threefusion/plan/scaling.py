"""Large steps told by small ones.

Let the pixels of a step and its chunk of samples shrink together. The number of chunks stays, and so do all operations; the bytes
alive after each are a constant plus so much per sample. Two small steps settle both for each operation, and the peak is found
in what they say of the large step: it may lie elsewhere than in the small ones, where constants such as a table's gradient weigh
more. A test compares with the large step itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import ceil, sqrt

from threefusion.plan.step_memory import StepTrace
from threefusion.types import ViewBatch

SMALL_STEPS = (16384, 32768)
"""About how many samples the small steps look at."""


def scaled(measure: Callable[[ViewBatch], StepTrace], batch: ViewBatch, samples: int) -> StepTrace | None:
    """What a step of `batch` does, which looks at `samples` samples; `measure` tells it of smaller ones, in as many chunks.

    None if the small steps differ in their operations. How images are resized for the prior depends on their size, so of the
    guidance, which has no chunks, the peak alone is told.
    """
    first, second = (measure(shrunk(batch, small / samples)) for small in SMALL_STEPS)
    phases = {name: (getattr(first, name), getattr(second, name)) for name in ("render", "backward")}
    if any(len(a) != len(b) for a, b in phases.values()):
        return None
    along = (samples - first.samples) / (second.samples - first.samples)

    def extended(a: int, b: int) -> int:
        return round(a + (b - a) * along)

    laps = {name: [extended(a, b) for a, b in zip(*pair, strict=True)] for name, pair in phases.items()}
    guidance = [extended(max(first.guidance), max(second.guidance))]
    return replace(first, samples=samples, kept=extended(first.kept, second.kept), guidance=guidance, **laps)


def shrunk(batch: ViewBatch, share: float) -> ViewBatch:
    """The same views with about this share of the pixels."""
    camera = batch.camera
    height, width = (max(round(side * sqrt(share)), 1) for side in (camera.height, camera.width))
    return replace(batch, camera=replace(camera, height=height, width=width))


def same_chunks(fewer: int, samples: int, chunk: int) -> int:
    """The size of chunks that part `fewer` samples into as many as chunks of `chunk` do `samples`, nearest to the same share.

    That can be had as long as there are at least as many samples in a chunk as there are chunks.
    """
    count, size = ceil(samples / chunk), max(round(chunk * fewer / samples), 1)
    while ceil(fewer / size) > count:
        size += 1
    while ceil(fewer / size) < count and size > 1:
        size -= 1
    return size
