"""Pictures of the scene: previews during training, a turntable at the end."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.camera.orbit import orbit_views
from threefusion.camera.sampler import CameraSampler
from threefusion.geometry.geometry import CanvasGeometry
from threefusion.types import RenderOutput, Scene, Shading, ViewBatch

Mode = Literal["color", "albedo", "textureless", "normal"]
SHADING = {"color": Shading.LIT, "albedo": Shading.ALBEDO, "textureless": Shading.TEXTURELESS, "normal": Shading.ALBEDO}


def to_bytes(image: Float[Tensor, "H W C"]) -> np.ndarray:
    """8-bit pixels of an image in [0, 1]."""
    return (image.detach().clamp(0, 1) * 255).round().byte().cpu().numpy()


def write_png(path: Path, image: Float[Tensor, "H W C"]) -> None:
    """Write a PNG through a temporary file."""
    from PIL import Image

    temporary = path.with_suffix(".tmp")
    Image.fromarray(to_bytes(image)).save(temporary, format="png")
    os.replace(temporary, path)


def picture(render: RenderOutput, mode: Mode) -> Float[Tensor, "B H W 3"]:
    """What a person looks at: the image, or normals as colours over white."""
    if mode != "normal":
        return render.image
    return (0.5 * render.normal + 0.5) * render.opacity + (1 - render.opacity)


@torch.no_grad()
def look(scene: Scene, batch: ViewBatch, mode: Mode) -> Iterator[Float[Tensor, "H W 3"]]:
    """The scene from each view in turn, in evaluation mode (no jitter, no random background)."""
    training = scene.renderer.training
    scene.renderer.eval()
    device = next(scene.geometry.parameters()).device
    try:
        for place in range(len(batch)):
            view = take(batch, place).to(device)
            render = scene.renderer(view, normals=mode == "normal")
            yield picture(render, mode)[0].detach()
    finally:
        scene.renderer.train(training)


def take(batch: ViewBatch, place: int) -> ViewBatch:
    """One view of a batch, as a batch of one."""
    from dataclasses import fields, replace

    def cut(value: Any) -> Any:
        parts = {
            f.name: getattr(value, f.name)[place : place + 1] for f in fields(value) if isinstance(getattr(value, f.name), Tensor)
        }
        return replace(value, **parts)

    return replace(cut(batch), camera=cut(batch.camera), light=cut(batch.light))


def write_video(path: Path, frames: Iterator[Float[Tensor, "H W 3"]], frames_per_second: int = 24) -> None:
    """Write an H.264 MP4 through a temporary file; images should have even sides."""
    import imageio.v2 as imageio

    temporary = path.with_name(path.stem + ".tmp" + path.suffix)
    with imageio.get_writer(temporary, fps=frames_per_second, codec="libx264", quality=8, macro_block_size=2) as writer:
        for frame in frames:
            writer.append_data(to_bytes(frame))
    os.replace(temporary, path)


class Previews(pl.Callback):
    """Every `interval` steps, the scene from four sides and as normals in one PNG."""

    def __init__(self, run: Path, interval: int, size: int) -> None:
        self.folder = run / "images"
        self.interval, self.size = interval, size
        self._drawn = -1

    def on_train_batch_end(self, trainer: pl.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Draw at multiples of the interval and at the end."""
        step = trainer.global_step
        if not trainer.is_global_zero or step == self._drawn or (step % self.interval and step != trainer.max_steps):
            return
        self._drawn = step
        image = self.sheet(module.scene, module.camera)
        write_png(self.folder / f"{step:06d}.png", image)
        for logger in trainer.loggers:
            if hasattr(logger, "log_image"):
                logger.log_image("views", [to_bytes(image)], step=step)

    def sheet(self, scene: Scene, camera: CameraSampler) -> Float[Tensor, "h w 3"]:
        """Front, left, back and right side in albedo above the same as normals."""
        batch = evaluation_orbit(camera, 4, self.size)
        if isinstance(scene.geometry, CanvasGeometry):
            return next(look(scene, batch, "albedo"))
        rows = [torch.cat(list(look(scene, batch, mode)), dim=1) for mode in ("albedo", "normal")]
        return torch.cat(rows, dim=0)


def evaluation_orbit(
    camera: CameraSampler, count: int, size: int, shading: Shading = Shading.ALBEDO, light: str = "camera"
) -> ViewBatch:
    """`count` views round the scene, 15 degrees up, at the mean distance and field of view that the camera sampler draws."""
    drawn = camera.sample(0, 0, torch.arange(64)).camera
    distance, fovy = float(drawn.distance.mean()), float(drawn.fovy.mean())
    return orbit_views(count, math.radians(15.0), distance, fovy, size, size, shading, light)
