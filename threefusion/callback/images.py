"""Image files of the scene: previews during training, videos."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.camera.orbit import evaluation_orbit
from threefusion.camera.sampler import CameraSampler
from threefusion.geometry.geometry import HasCanvas
from threefusion.machine.files import numbered, written
from threefusion.messages import Preview, send
from threefusion.renderer.renderer import Renderer
from threefusion.renderer.views import Mode, render_views, to_image
from threefusion.types import Scene, Want


def to_bytes(image: Float[Tensor, "H W C"]) -> np.ndarray:
    """8-bit pixels of an image in [0, 1]."""
    return (image.detach().clamp(0, 1) * 255).round().byte().cpu().numpy()


def write_png(path: Path, image: Float[Tensor, "H W C"]) -> None:
    """Write a PNG through a temporary file."""
    from PIL import Image

    with written(path) as temporary:
        Image.fromarray(to_bytes(image)).save(temporary, format="png")


def read_pixels(path: Path) -> np.ndarray:
    """8-bit colours `[H W 3]` of an image file."""
    from PIL import Image

    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def read_png(path: Path) -> Float[Tensor, "H W 3"]:
    """Colours in [0, 1] of an image file."""
    return torch.from_numpy(read_pixels(path).astype(np.float32) / 255)


class Previews(pl.Callback):
    """Every `interval` steps, the scene from four sides and as normals in one PNG; or all pictures in a row.

    Rows of pictures are stacked at the end: `over-time.png`.
    """

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
        path = self.folder / f"{step:06d}.png"
        write_png(path, sheet(module.renderer, module.scene, module.camera, self.size))
        if step == trainer.max_steps and isinstance(module.scene.geometry, HasCanvas):
            write_png(self.folder / "over-time.png", torch.cat(list(map(read_png, numbered(self.folder, "*.png")))))
        send(Preview(step, path))


def sheet(renderer: Renderer, scene: Scene, camera: CameraSampler, size: int) -> Float[Tensor, "h w 3"]:
    """Front, left, back and right side in albedo, above the same as normals if the renderer has them; or all pictures.

    `size` is the height and width of each, in pixels.
    """
    if isinstance(scene.geometry, HasCanvas):
        views = evaluation_orbit(camera, len(scene.geometry.canvas()), size)
        return torch.cat(list(render_views(renderer, scene, views)), dim=1)
    views = evaluation_orbit(camera, 4, size)
    with torch.no_grad():
        each = [views.select(torch.tensor([index])).to(scene.device) for index in range(len(views))]
        sides = [renderer(scene, view, Want(normals=True)) for view in each]
    modes: tuple[Mode, ...] = ("albedo",) if sides[0].normal is None else ("albedo", "normal")
    return torch.cat([torch.cat([to_image(side, mode)[0] for side in sides], dim=1) for mode in modes], dim=0)
