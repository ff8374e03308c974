"""The base class of renderers."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import torch

from threefusion.component import Component
from threefusion.errors import UserError
from threefusion.geometry.geometry import Geometry
from threefusion.renderer.heading import turn_render, turn_views
from threefusion.types import RenderOutput, Scene, ViewBatch, Want

PLAIN = Want()
"""Image, opacity and depth, without random numbers."""
MIN_NORMAL_OPACITY = 0.01
"""Opacity above which a pixel has a normal: where almost nothing is hit, the mean normal is noise."""


class Renderer(Component):
    """Makes images of a scene that it does not own. Constructed with `(cfg)`.

    Rendering has no side effects, so that several threads can render the same scene. State that follows the training, such as
    an occupancy grid, changes in `update` and `after_step` alone, and is a part of the checkpoint.
    """

    kind: ClassVar[str] = "renderer"
    needs: ClassVar[type[Geometry]]
    """Capability of the geometries that it can render."""

    def forward(self, scene: Scene, views: ViewBatch, want: Want = PLAIN) -> RenderOutput:
        """Images of the views, with everything in `want`.

        The scene's heading is accounted for here: `render` sees cameras and lights in the geometry's own frame. The image of
        `render` has the material's channels, that of the result is in colour.
        """
        render = self.render(scene, turn_views(views, -scene.heading), want)
        if render.image.shape[-1] != 3:
            render = scene.material.developed(render)
        return turn_render(render, scene.heading)

    @abstractmethod
    def render(self, scene: Scene, views: ViewBatch, want: Want) -> RenderOutput:
        """Images of views that are given in the frame of the geometry; changes nothing."""

    @torch.no_grad()
    def update(self, scene: Scene, step: int, generator: torch.Generator) -> None:
        """Called once before every optimiser step, after every component's `on_step`; override for state that follows the scene.

        `generator` depends on (seed, step) alone and is the same in every process.
        """

    @torch.no_grad()
    def after_step(self, render: RenderOutput, step: int) -> None:
        """Called after every optimiser step with the last render; override for state that follows measurements."""

    def reduce_memory(self) -> None:
        """Make the next render with gradients need less memory, and report it in one line; the image stays the same.

        Raises:
            UserError: it cannot need less; the message says what to lower.
        """
        raise UserError("out of memory. Lower camera.batch_size, or the size of the scene")
