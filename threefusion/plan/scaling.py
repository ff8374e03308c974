"""Large steps told by small ones.

Samples are looked at in chunks: a step or a picture takes a constant, so much per pixel and so much per sample of a chunk.
Three small ones settle the three numbers; a test compares with the large one itself.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import sqrt

from threefusion.plan.step_memory import StepMemory
from threefusion.types import ViewBatch

SMALL_CHUNK = 8192
SMALL_STEP = 4 * SMALL_CHUNK
"""Samples of the largest of the small steps."""
Measure = Callable[[ViewBatch, int], StepMemory]
"""What a step takes with these views and this many samples per chunk."""


def scaled(measure: Measure, batch: ViewBatch, samples: int, chunk: int) -> StepMemory:
    """What a step of `batch` takes, which looks at `samples` samples, by steps of two and four small chunks.

    Where `chunk` holds all samples nothing is computed again, and so it is in the small steps.
    """
    chunked = chunk < samples
    small, half = (SMALL_CHUNK, 2 * SMALL_CHUNK) if chunked else (chunk, chunk)
    few, many = (shrunk(batch, count * SMALL_CHUNK / samples) for count in (2, 4))
    first, second = measure(few, small), measure(many, small)
    third = measure(many, half) if chunked else second
    along_pixels = (pixels(batch) - pixels(few)) / (pixels(many) - pixels(few))
    along_chunk = (chunk - small) / SMALL_CHUNK if chunked else 0.0

    def extended(name: str) -> int:
        a, b, c = (getattr(step, name) for step in (first, second, third))
        return round(a + (b - a) * along_pixels + (c - b) * along_chunk)

    counted = ("kept", "render", "guidance", "backward")
    return replace(first, samples=samples, **{name: extended(name) for name in counted})


def shrunk(batch: ViewBatch, share: float) -> ViewBatch:
    """The same views with about this share of the pixels."""
    camera = batch.camera
    height, width = (max(round(side * sqrt(share)), 1) for side in (camera.height, camera.width))
    return replace(batch, camera=replace(camera, height=height, width=width))


def pixels(batch: ViewBatch) -> int:
    """Pixels of one view."""
    return batch.camera.height * batch.camera.width
