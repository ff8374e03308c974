"""Training views: geometry buffers of random cameras, rendered once and stored in shards."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from threefusion.toyworld.catalogue import CLASSES
from threefusion.toyworld.render import Surface, render_surface
from training.captions import VIEW_WORDS, view_word
from training.rendering import random_cameras

SIZE = 64
"""Size of stored views in pixels, with 2 x 2 supersampling."""
EXTENT = 0.8
"""Positions are stored as bytes over [-EXTENT, EXTENT]."""
STRETCH = 0.06
"""Relative scale variation along each axis, per shard."""


@dataclass(frozen=True)
class StoredViews:
    """Averaged geometry buffers, one row per view; colours are premultiplied by coverage."""

    coverage: Float[Tensor, "B H W 1"]
    fixed: Float[Tensor, "B H W 3"]
    painted: Float[Tensor, "B H W 1"]
    normal: Float[Tensor, "B H W 3"]
    position: Float[Tensor, "B H W 3"]
    camera: Float[Tensor, "B 3"]
    """Camera position."""


def pack(surface: Surface) -> UInt8[Tensor, "B h w 11"]:
    """Bytes of a surface at half its resolution."""
    mask = surface.mask[..., None].float()

    def halve(values: Tensor) -> Tensor:
        b, h, w, c = values.shape
        return values.view(b, h // 2, 2, w // 2, 2, c).mean((2, 4))

    coverage = halve(mask)
    position = halve(surface.position) / coverage.clamp_min(1e-6) / EXTENT
    planes = [coverage, halve(surface.fixed), halve(surface.painted), halve(surface.normal) / 2 + 0.5, position / 2 + 0.5]
    return (torch.cat(planes, -1).clamp(0, 1) * 255).round().byte()


def unpack(packed: UInt8[Tensor, "B h w 11"], camera: Float[Tensor, "B 3"], size: int) -> StoredViews:
    """The buffers of stored views at 64 or 32 pixels."""
    values = packed.float() / 255
    coverage = values[..., :1]
    # weighted by coverage, so that halving the resolution keeps edges right
    values = torch.cat([values[..., :8], values[..., 8:] * coverage], -1)
    factor = values.shape[1] // size
    if factor > 1:
        values = values.unflatten(1, (size, factor)).unflatten(3, (size, factor)).mean((2, 4))
    coverage, fixed, painted, normal, position = values.split([1, 3, 1, 3, 3], -1)
    position = (position / coverage.clamp_min(1e-6) * 2 - 1) * EXTENT
    return StoredViews(coverage, fixed, painted, normal * 2 - 1, position, camera)


def render_shard(path: Path, seed: int, per_class: int = 32) -> None:
    """Render one shard of `per_class` random views per class; written atomically."""
    packed, cameras = [], []
    for index, name in enumerate(CLASSES):
        generator = torch.Generator().manual_seed(1009 * seed + index)
        views = random_cameras(per_class, 2 * SIZE, generator)
        stretch = 1 + STRETCH * (2 * torch.rand(3, generator=generator) - 1)
        packed.append(pack(render_surface(name, views, stretch=tuple(stretch.tolist()))).numpy())
        cameras.append(torch.cat([views.position, views.azimuth[:, None], views.elevation[:, None]], -1).numpy())
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    with temporary.open("wb") as file:
        np.save(file, np.stack(packed))
    np.save(path.with_suffix(".cameras.npy"), np.stack(cameras).astype(np.float32))
    os.replace(temporary, path)


def render_shards(folder: Path, shards: int, first: int = 0) -> None:
    """Render the missing shards of seeds `first` to `first + shards - 1`."""
    for seed in range(first, first + shards):
        path = folder / f"views-{seed:03d}.npy"
        if not path.exists():
            render_shard(path, seed)


class ViewStore:
    """The complete shards of a folder, memory-mapped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.refresh()

    def refresh(self) -> None:
        """Load shards completed since."""
        paths = sorted(p for p in self.folder.glob("views-???.npy"))
        if not paths:
            raise FileNotFoundError(f"no rendered views in {self.folder}")
        self.shards = [np.load(path, mmap_mode="r") for path in paths]
        self.cameras = [np.load(path.with_suffix(".cameras.npy")) for path in paths]
        self.words: list[dict[str, list[tuple[int, int]]]] = [{word: [] for word in VIEW_WORDS} for _ in CLASSES]
        for shard, cameras in enumerate(self.cameras):
            for index, view in np.ndindex(cameras.shape[:2]):
                word = view_word(*cameras[index, view, 3:].tolist())
                self.words[index][word].append((shard, view))

    def draw(
        self, classes: list[int], size: int, generator: torch.Generator, even: bool = False
    ) -> tuple[StoredViews, Float[Tensor, "B 2"]]:
        """One random view per class, and its camera's azimuth and elevation.

        Of `even` views, as many show the front and the back as a side, which has twice the azimuths.
        """
        places = []
        for index in classes:
            weights = [len(self.words[index][word]) * (0.5 if even and word == "side" else 1.0) for word in VIEW_WORDS]
            word = VIEW_WORDS[int(torch.multinomial(torch.tensor(weights), 1, generator=generator))]
            places += self._places(index, word, 1, generator)
        return self._read(places, size)

    def siblings(self, classes: list[int], words: list[str], count: int, size: int, generator: torch.Generator) -> StoredViews:
        """`count` random views per class with the given view word, in a row."""
        places = [self._places(index, word, count, generator) for index, word in zip(classes, words, strict=True)]
        return self._read([place for group in places for place in group], size)[0]

    def _places(self, index: int, word: str, count: int, generator: torch.Generator) -> list[tuple[int, int, int]]:
        """Shard, class and view of random views of a class with a word."""
        found = self.words[index][word]
        chosen = torch.randint(len(found), (count,), generator=generator).tolist()
        return [(found[i][0], index, found[i][1]) for i in chosen]

    def _read(self, places: list[tuple[int, int, int]], size: int) -> tuple[StoredViews, Float[Tensor, "B 2"]]:
        """Views, and their cameras' azimuth and elevation."""
        packed = np.stack([self.shards[shard][index, view] for shard, index, view in places])
        camera = torch.from_numpy(np.stack([self.cameras[shard][index, view] for shard, index, view in places]))
        return unpack(torch.from_numpy(packed), camera[:, :3], size), camera[:, 3:]
