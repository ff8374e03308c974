"""Images of all pairs with labels, for the judge and the classifier."""

from __future__ import annotations

from dataclasses import dataclass
from math import degrees

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate

from threefusion.toyworld.palette import COLORS
from training.captions import view_word
from training.data import LOOKS, NAMES, compose, draw_surroundings
from training.views import EXTENT, ViewStore
from training.views import SIZE as STORED

GRID = 16
COLOR_NAMES = list(COLORS)


@dataclass(frozen=True)
class Pictures:
    """Images of random pairs, including held-out ones."""

    images: Float[Tensor, "B 3 h w"]
    """In [0, 1]."""
    coverage: Float[Tensor, "B 1 h w"]
    geometry: Float[Tensor, "B 7 16 16"]
    """Coverage, and premultiplied normal and position in the object's frame, the latter divided by `EXTENT`."""
    names: list[str]
    colors: list[str]
    looks: list[int]
    angles: list[tuple[float, float]]
    """Azimuth and elevation in radians."""

    @property
    def views(self) -> list[str]:
        """View words."""
        return [view_word(*angle) for angle in self.angles]


def draw_pictures(
    store: ViewStore,
    count: int,
    size: int,
    generator: torch.Generator,
    looks: tuple[float, ...] = LOOKS,
    palette: list[str] = COLOR_NAMES,
    even: bool = False,
) -> Pictures:
    """Random images, uniform over classes and colours of the palette, with `even` also over front, side and back."""
    classes = torch.randint(len(NAMES), (count,), generator=generator).tolist()
    colors = [palette[i] for i in torch.randint(len(palette), (count,), generator=generator).tolist()]
    look = torch.multinomial(torch.tensor(looks), count, replacement=True, generator=generator)
    stored, angles = store.draw(classes, size if STORED % size == 0 else STORED, generator, even)
    around = draw_surroundings(torch.tensor([COLORS[color] for color in colors]), look, stored.coverage.shape[1], generator)
    images = compose(stored, around)
    pairs = [(azimuth, elevation) for azimuth, elevation in angles.tolist()]
    names = [NAMES[i] for i in classes]
    solid = torch.cat([torch.ones_like(stored.coverage), stored.normal, stored.position / EXTENT], -1) * stored.coverage
    buffers = [_resized(values, side) for values, side in ((images, size), (stored.coverage, size), (solid, GRID))]
    return Pictures(*buffers, names, colors, look.tolist(), pairs)


def surely_seen(azimuth: float, elevation: float, margin: float = 10.0) -> bool:
    """Whether a view (radians) is at least `margin` degrees from the boundaries of the view words."""
    up, turn = degrees(elevation), abs(degrees(azimuth))
    return up > 60 + margin or (up < 60 - margin and min(abs(turn - 45), abs(turn - 135)) > margin)


def _resized(images: Float[Tensor, "B H W C"], size: int) -> Float[Tensor, "B C h w"]:
    """Channels first, at another size."""
    images = images.permute(0, 3, 1, 2)
    if images.shape[-1] % size == 0:
        return avg_pool2d(images, images.shape[-1] // size)
    return interpolate(images, size=(size, size), mode="bilinear", antialias=True)
