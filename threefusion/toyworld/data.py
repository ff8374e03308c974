"""Training batches: stored views in random colours, light and surroundings, with captions."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.toyworld.captions import caption, held_out, view_word
from threefusion.toyworld.catalogue import CLASSES, CONVEX
from threefusion.toyworld.palette import COLORS
from threefusion.toyworld.render import shade
from threefusion.toyworld.views import StoredViews, ViewStore

NAMES = list(CLASSES)
TRAINING_COLORS = {name: [color for color in COLORS if not held_out(name, color)] for name in NAMES}
UNLIT, LIT, TEXTURELESS = 0, 1, 2
LOOKS = (0.5, 0.4, 0.1)
"""How often a picture shows the bare albedo, the lit object, and a lit white one."""


@dataclass(frozen=True)
class Batch:
    """Pictures and what is said about them."""

    images: Float[Tensor, "B 3 h w"]
    """In [-1, 1], channels first, as diffusers wants them."""
    captions: list[str]
    names: list[str]
    colors: list[str]
    views: list[str]
    looks: list[int]


def draw_batch(store: ViewStore, count: int, size: int, generator: torch.Generator, every_pair: bool = False) -> Batch:
    """Random pictures; unless `every_pair`, a held-out pair never occurs, whatever its caption would say."""
    # simple solids need fewer pictures than the rest
    weights = torch.tensor([0.5 if name in CONVEX else 1.0 for name in NAMES])
    classes = torch.multinomial(weights, count, replacement=True, generator=generator).tolist()
    names = [NAMES[c] for c in classes]
    colors = [_pick(list(COLORS) if every_pair else TRAINING_COLORS[name], generator) for name in names]
    looks = torch.multinomial(torch.tensor(LOOKS), count, replacement=True, generator=generator)
    stored, angles = store.draw(classes, size, generator)
    views = [view_word(azimuth, elevation) for azimuth, elevation in angles.tolist()]
    images = compose(stored, torch.tensor([COLORS[c] for c in colors]), looks, generator)
    captions = [
        caption(name, None if look == TEXTURELESS else color, view, generator)
        for name, color, view, look in zip(names, colors, views, looks.tolist(), strict=True)
    ]
    return Batch((images * 2 - 1).permute(0, 3, 1, 2), captions, names, colors, views, looks.tolist())


def compose(
    stored: StoredViews, color: Float[Tensor, "B 3"], looks: Tensor, generator: torch.Generator
) -> Float[Tensor, "B h w 3"]:
    """Pictures in [0, 1]: paint, light and background."""
    count, size = stored.coverage.shape[:2]
    look = looks.view(-1, 1, 1, 1)
    albedo = stored.fixed + stored.painted * color[:, None, None]
    white = 0.9 * stored.coverage.expand_as(albedo)
    albedo = torch.where(look == TEXTURELESS, white, albedo)
    light = stored.camera + 0.8 * torch.randn(count, 3, generator=generator)
    ambient = 0.3 + 0.4 * torch.rand(count, 1, 1, 1, generator=generator)
    normal = torch.nn.functional.normalize(stored.normal, dim=-1)
    lit = shade(albedo, normal, stored.position, light[:, None, None], ambient)
    foreground = torch.where(look == UNLIT, albedo, lit)
    return foreground + (1 - stored.coverage) * backgrounds(count, size, generator)


def backgrounds(count: int, size: int, generator: torch.Generator) -> Float[Tensor, "B h w 3"]:
    """Half of them of a random colour, half grey; a quarter blends into a second such colour along a random direction."""

    def flat() -> Tensor:
        grey = torch.rand(count, 1, generator=generator).expand(-1, 3)
        return torch.where(torch.rand(count, 1, generator=generator) < 0.5, grey, torch.rand(count, 3, generator=generator))

    first, second = flat(), flat()
    angle = 2 * torch.pi * torch.rand(count, 1, 1, generator=generator)
    axis = torch.linspace(-1, 1, size)
    ramp = 0.5 + 0.4 * (angle.cos() * axis + angle.sin() * axis[:, None])
    blend = torch.where(torch.rand(count, 1, 1, generator=generator) < 0.25, ramp, 0.0)[..., None]
    return torch.lerp(first[:, None, None], second[:, None, None], blend)


def _pick(items: list[str], generator: torch.Generator) -> str:
    """One of several at random."""
    return items[int(torch.randint(len(items), (), generator=generator))]
