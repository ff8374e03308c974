"""The scene that a run started from, for objectives that compare with it."""

from __future__ import annotations

from dataclasses import replace

import torch

from threefusion.registry import build
from threefusion.renderer.renderer import Renderer
from threefusion.renderer.settings import RasterizerConfig
from threefusion.system.start import Source
from threefusion.types import RenderOutput, Scene, ViewBatch, Want


class Before:
    """A scene as it was before the training, with its own renderer; a mesh file is rasterized.

    It is no module: it is neither trained nor in a checkpoint, but read again when a run is resumed.
    """

    def __init__(self, source: Source, scene: Scene) -> None:
        self.renderer: Renderer = source.renderer or build(RasterizerConfig())
        self.edited = scene
        """The scene that is trained; the one before turns with it."""
        before = source.scene
        # else random backgrounds would differ, and be taken for a part of the edit
        background = before.background if [*scene.background.parameters()] else scene.background
        self.scene = Scene(before.geometry, before.material, background)
        if background is before.background:
            self.scene.requires_grad_(False)

    @torch.no_grad()
    def beside(self, render: RenderOutput, views: ViewBatch, want: Want) -> RenderOutput:
        """A render with the scene before as its source: in the same views, with the same random numbers, normals if wanted."""
        device = self.edited.device
        self.renderer.to(device)
        self.scene.to(device)
        self.scene.heading.copy_(self.edited.heading)
        return replace(render, source=self.renderer(self.scene, views, Want(normals=want.normals, random=True)))
