"""The renderer of canvases: copies their pictures."""

from __future__ import annotations

from typing import ClassVar

import torch
from jaxtyping import Int
from torch import Tensor

from threefusion.errors import UserError
from threefusion.geometry.geometry import Geometry, HasCanvas
from threefusion.renderer.renderer import Renderer
from threefusion.types import RenderOutput, Scene, ViewBatch, Want, view_generator


class Image(Renderer):
    """One of the geometry's pictures in every view, whatever the camera; material and background are not used."""

    needs: ClassVar[type[Geometry]] = HasCanvas

    def render(self, scene: Scene, views: ViewBatch, want: Want) -> RenderOutput:
        """Pictures in their own size, opaque, at distance 0.

        Raises:
            UserError: normals or samples are wanted, which a picture does not have.
        """
        if want.normals or want.samples:
            raise UserError("renderer: 'image' has no normals and no samples; leave out the losses that need them")
        pictures = scene.geometry.canvas()
        shown = pictures[picture_of_view(views, len(pictures), want.random).to(pictures.device)]
        flat = torch.zeros_like(shown[..., :1])
        return RenderOutput(image=shown, opacity=flat + 1, depth=flat)


def picture_of_view(views: ViewBatch, count: int, random: bool) -> Int[Tensor, "B"]:
    """Which of `count` pictures each view shows: all in turn, in training in a random order that is another one in each step."""
    turn = views.index % count
    if not random:
        return turn
    return torch.randperm(count, generator=view_generator(views.seed, views.step, 0, "pictures"))[turn]
