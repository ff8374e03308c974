"""Settings of the built-in viewers."""

from __future__ import annotations

from dataclasses import dataclass

from threefusion.config.fields import Settings, bounded
from threefusion.registry import component


@dataclass(frozen=True)
class ViewerConfig(Settings):
    """How much a viewer may cost, which every viewer has."""

    budget: float = bounded(0.1, 0, 1, open_low=True)
    """Most seconds of the viewer per second of training. Pictures get smaller and fewer to stay below it; in a pause it does not
    hold."""
    resolution: int = bounded(512, 16, 4096)
    """Height of the finest picture, in pixels, which is rendered when the camera rests and the budget allows it."""


@component("viewer", "viser", "threefusion.viewer.viser_page:ViserPage")
@dataclass(frozen=True)
class ViserConfig(ViewerConfig):
    """Where the page is served."""

    host: str = "127.0.0.1"
    """Address to listen at. By default programs of this machine alone can connect: reach it through a tunnel, `ssh -L`. The page
    is not encrypted."""
    port: int = bounded(8080, 0, 65535)
    """Port to listen at; the next free one if it is taken. 0 is any."""
