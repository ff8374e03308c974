"""A scene as pictures: what a renderer offers to look at, from any camera. Knows nothing of a training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.camera.orbit import AMBIENT, cameras_around
from threefusion.errors import UserError
from threefusion.geometry.geometry import HasCanvas
from threefusion.renderer.renderer import Renderer
from threefusion.renderer.views import SHADING, to_image
from threefusion.types import Cameras, Lights, RenderOutput, Scene, Shading, ViewBatch, Want
from threefusion.viewer.viewer import Pose

MODES = {"colour": "color", "albedo": "albedo", "normals": "normal"}
"""The modes of `render_views`, by channel."""
CHANNELS = (*MODES, "opacity", "depth")
BALL = 1.2
"""Radii of the scene between the nearest and the farthest depth that have a shade of their own."""


class Pictures:
    """Pictures of a scene from any camera, in any channel that its renderer offers. Rendering leaves no trace."""

    def __init__(self, scene: Scene, renderer: Renderer) -> None:
        self.scene, self.renderer = scene, renderer
        self.channels = tuple(channel for channel in CHANNELS if self._offers(channel))

    def __call__(self, pose: Pose, channel: str, height: int) -> np.ndarray:
        """The scene in this channel, `[H, W, 3]` in 8 bits; a canvas has its own size."""
        view = view_from(pose, height, SHADING[MODES.get(channel, "albedo")]).to(self.scene.device)
        with untouched(self.scene, self.renderer):
            render = self.renderer(self.scene, view, Want(normals=channel == "normals"))
            image = self._shown(render, view, channel)[0]
            return (image.clamp(0, 1) * 255).round().byte().cpu().numpy()

    def _shown(self, render: RenderOutput, view: ViewBatch, channel: str) -> Float[Tensor, "B H W 3"]:
        if channel == "opacity":
            return render.opacity.expand(-1, -1, -1, 3)
        if channel == "depth":
            radius, distance = BALL * self.scene.geometry.radius, view.camera.distance
            along = render.depth / render.opacity.clamp_min(1e-6)
            near = 0.5 - 0.5 * (along - distance) / radius
            return (near.clamp(0, 1) * render.opacity).expand(-1, -1, -1, 3)
        return to_image(render, MODES[channel])

    def _offers(self, channel: str) -> bool:
        """Whether the channel can be rendered and says something."""
        if isinstance(self.scene.geometry, HasCanvas):
            return channel == "albedo"
        try:
            self(pose_of(cameras_around(torch.zeros(1), 0.3, 2.0, 0.8, (2, 2))), channel, 2)
        except UserError:
            return False
        return True


def pose_of(cameras: Cameras) -> Pose:
    """The first camera as a pose."""
    return Pose(cameras.c2w[0].double().numpy(), float(cameras.fovy[0]), cameras.width / cameras.height)


def view_from(pose: Pose, height: int, shading: Shading) -> ViewBatch:
    """One view from a pose, lit from where the camera stands."""
    c2w = torch.as_tensor(pose.c2w, dtype=torch.float32)[None]
    position = c2w[:, :3, 3]
    distance = position.norm(dim=-1)
    elevation = (position[:, 2] / distance.clamp_min(1e-6)).clamp(-1, 1).asin()
    azimuth = torch.atan2(position[:, 1], position[:, 0])
    width = max(1, round(height * pose.aspect))
    fovy = torch.tensor([pose.fovy], dtype=torch.float32)
    camera = Cameras(c2w, fovy, azimuth, elevation, distance, height, width)
    ambient = torch.full_like(position, 1.0 if shading == Shading.ALBEDO else AMBIENT)
    light = Lights(position, 1 - ambient, ambient)
    return ViewBatch(camera, light, torch.tensor([int(shading)]), step=0, index=torch.zeros(1, dtype=torch.int64))


@contextmanager
def untouched(*modules: torch.nn.Module, gradients: bool = False) -> Iterator[None]:
    """A block in evaluation mode, without gradients unless wanted, whose random numbers are its own; then all is as it was."""
    parts = [part for module in modules for part in module.modules()]
    modes = [part.training for part in parts]
    device = next((value.device for module in modules for value in module.buffers()), torch.device("cpu"))
    with torch.random.fork_rng([device] if device.type == "cuda" else []), torch.set_grad_enabled(gradients):
        for part in parts:
            part.training = False
        try:
            yield
        finally:
            for part, mode in zip(parts, modes, strict=True):
                part.training = mode
