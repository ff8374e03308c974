"""Several scenes in one window: tiles beside each other, which the window's one camera sees all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import atan, ceil, tan

import numpy as np

from threefusion.viewer.viewer import Pose

Sight = Callable[[Pose, str, int], np.ndarray]
"""What something looks like from a pose, in a channel, at a height in pixels: `[H, W, 3]` in 8 bits."""
CAPTION = 14
"""Height of the letters in pixels."""


def arranged(count: int, aspect: float) -> tuple[int, int]:
    """Rows and columns of `count` tiles in a window of this aspect, so that a square in each is as large as possible.

    >>> arranged(2, 1.6), arranged(2, 0.5), arranged(5, 1.6)
    ((1, 2), (2, 1), (2, 3))
    """
    columns = max(range(1, count + 1), key=lambda columns: min(aspect / columns, 1 / ceil(count / columns)))
    return ceil(count / columns), columns


def tile_pose(pose: Pose, rows: int, columns: int) -> Pose:
    """The pose for one tile: what fits into the height of a wide tile fits into the width of a narrow one."""
    aspect = pose.aspect * rows / columns
    return Pose(pose.c2w, 2 * atan(tan(pose.fovy / 2) / min(aspect, 1.0)), aspect)


def tiled(sights: Mapping[str, Sight], pose: Pose, channel: str, height: int) -> np.ndarray:
    """All sights by name from one pose, each with its name below, as a picture of about this height."""
    rows, columns = arranged(len(sights), pose.aspect)
    each = max(height // rows, 2)
    seen = tile_pose(pose, rows, columns)
    width = max(1, round(each * seen.aspect))
    window = np.full((rows * each, columns * width, 3), 255, np.uint8)
    for index, (name, sight) in enumerate(sights.items()):
        top, left = index // columns * each, index % columns * width
        image = fitted(sight(seen, channel, each), each, width)
        window[top : top + each, left : left + width] = captioned(image, name)
    return window


def fitted(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """A picture of any size in the middle of one of this size: pictures of a canvas have a size of their own."""
    from PIL import Image

    if image.shape[:2] == (height, width):
        return image
    scale = min(height / image.shape[0], width / image.shape[1])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))
    placed = Image.new("RGB", (width, height), "white")
    placed.paste(Image.fromarray(image).resize(size), ((width - size[0]) // 2, (height - size[1]) // 2))
    return np.asarray(placed)


def captioned(image: np.ndarray, name: str) -> np.ndarray:
    """The picture with a name in its lower left corner."""
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.fromarray(image)
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(CAPTION)
    draw.text((8, picture.height - 8), name, "black", font, anchor="ld", stroke_width=2, stroke_fill="white")
    return np.asarray(picture)
