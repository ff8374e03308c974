"""The renderer of canvases: copies the image."""

from __future__ import annotations

from typing import ClassVar

import torch

from threefusion.errors import UserError
from threefusion.geometry.geometry import Geometry, HasCanvas
from threefusion.renderer.renderer import Renderer
from threefusion.types import RenderOutput, Scene, ViewBatch, Want


class Image(Renderer):
    """The geometry's picture in every view, whatever the camera; material and background are not used."""

    needs: ClassVar[type[Geometry]] = HasCanvas

    def render(self, scene: Scene, views: ViewBatch, want: Want) -> RenderOutput:
        """The picture in its own size, opaque, at distance 0.

        Raises:
            UserError: normals or samples are wanted, which a picture does not have.
        """
        if want.normals or want.samples:
            raise UserError("renderer: 'image' has no normals and no samples; leave out the losses that need them")
        picture = scene.geometry.canvas().expand(len(views), -1, -1, -1)
        flat = torch.zeros_like(picture[..., :1])
        return RenderOutput(image=picture, opacity=flat + 1, depth=flat)
