"""Renders one image per view, for previews, videos, exporters and viewers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.errors import UserError
from threefusion.renderer.renderer import Renderer
from threefusion.types import RenderOutput, Scene, Shading, ViewBatch, Want

Mode = Literal["color", "albedo", "textureless", "normal"]
SHADING = {"color": Shading.LIT, "albedo": Shading.ALBEDO, "textureless": Shading.TEXTURELESS, "normal": Shading.ALBEDO}
"""How the views of each mode have to be shaded."""


def render_views(renderer: Renderer, scene: Scene, views: ViewBatch, mode: Mode = "albedo") -> Iterator[Float[Tensor, "H W 3"]]:
    """The scene from each view in turn, without jitter and random backgrounds.

    Nothing is changed, so that a viewer can render from its own thread while the scene is trained.

    Args:
        renderer: any renderer that can render the scene.
        scene: the scene, on any device.
        views: cameras and lights, on any device; shaded as `SHADING[mode]` says.
        mode: `normal` shows world-space normals as colours over white, every other mode the image.

    >>> from threefusion.camera.orbit import orbit_views
    >>> from threefusion.testing import small_scene
    >>> scene, renderer = small_scene()
    >>> views = orbit_views(2, elevation=0.3, distance=2.0, fovy=0.8, height=4, width=6)
    >>> [tuple(image.shape) for image in render_views(renderer, scene, views)]
    [(4, 6, 3), (4, 6, 3)]
    """
    for index in range(len(views)):
        view = views.select(torch.tensor([index])).to(scene.device)
        with torch.no_grad():
            image = to_image(renderer(scene, view, Want(normals=mode == "normal")), mode)[0]
        yield image


def to_image(render: RenderOutput, mode: Mode) -> Float[Tensor, "B H W 3"]:
    """A render as an image for people: the image itself, or its normals as colours over white.

    Raises:
        UserError: the renderer gives no normals.

    >>> empty, clear = torch.zeros(1, 1, 1, 3), torch.zeros(1, 1, 1, 1)
    >>> to_image(RenderOutput(empty, clear, clear, normal=empty), "normal").flatten().tolist()
    [1.0, 1.0, 1.0]
    """
    if mode != "normal":
        return render.image
    if render.normal is None:
        raise UserError("the renderer of this scene gives no normals: choose another mode")
    return (0.5 * render.normal + 0.5) * render.opacity + (1 - render.opacity)
