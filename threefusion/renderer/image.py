"""Shows a canvas as it is."""

from __future__ import annotations

import torch

from threefusion.background.background import Background
from threefusion.errors import UserError
from threefusion.geometry.geometry import CanvasGeometry, Geometry
from threefusion.material.material import Material
from threefusion.registry import register
from threefusion.renderer.renderer import Renderer
from threefusion.renderer.settings import ImageConfig
from threefusion.types import RenderOutput, ViewBatch


@register("image")
class Image(Renderer):
    """The geometry's picture in every view, whatever the camera; material and background are not used."""

    def __init__(self, cfg: ImageConfig, geometry: Geometry, material: Material, background: Background) -> None:
        super().__init__(geometry, material, background)
        if not isinstance(geometry, CanvasGeometry):
            name = getattr(geometry, "registered_name", type(geometry).__name__)
            raise UserError(f"renderer: 'image' needs the geometry 'image', not {name!r}. Did you mean the renderer 'volume'?")

    def forward(self, batch: ViewBatch, normals: bool = False) -> RenderOutput:
        """The picture in its own size, opaque, at distance 0.

        Raises:
            UserError: normals were asked for, which a picture has not.
        """
        if normals:
            raise UserError("renderer: 'image' has no normals; leave out the losses that need them")
        picture = self.geometry.canvas().expand(len(batch), -1, -1, -1)
        flat = torch.zeros_like(picture[..., :1])
        return RenderOutput(image=picture, opacity=flat + 1, depth=flat)
