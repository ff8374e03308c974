"""Training batches: stored views with random colours, lights and backgrounds, and captions."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from jaxtyping import Float, Int
from torch import Tensor

from threefusion.toyworld.catalogue import CLASSES, CONVEX, ROUND
from threefusion.toyworld.palette import COLORS
from training.captions import caption, held_out, view_word
from training.rendering import shade
from training.views import StoredViews, ViewStore

NAMES = list(CLASSES)
TRAINING_COLORS = {name: [color for color in COLORS if not held_out(name, color)] for name in NAMES}
SUBTLE = {"bunny on pancakes": 6.0} | dict.fromkeys(
    ("snowman", "chair", "rocket", "car", "airplane", "teapot", "robot with a hat"), 2.0
)
"""Oversampling factors of classes whose front and back are hard to distinguish."""
SHARES = [0.4 if name in CONVEX else 0.6 if name in ROUND else SUBTLE.get(name, 1.0) for name in NAMES]
"""Sampling weights: simple and rotationally symmetric classes need fewer images."""
UNLIT, LIT, TEXTURELESS = 0, 1, 2
LOOKS = (0.5, 0.4, 0.1)
"""Probabilities of albedo, lit and textureless images."""


@dataclass(frozen=True)
class Batch:
    """Images with captions and labels."""

    images: Float[Tensor, "B 3 h w"]
    """In [-1, 1], channels first, as in diffusers."""
    captions: list[str]
    names: list[str]
    colors: list[str]
    views: list[str]
    looks: list[int]


@dataclass(frozen=True)
class FamilyBatch(Batch):
    """Images, some of them with siblings."""

    siblings: Float[Tensor, "b K 3 h w"]
    """Other views of the first images' classes with the same view word, colour, light and background."""


@dataclass(frozen=True)
class Surroundings:
    """Random appearance of a view."""

    color: Float[Tensor, "B 3"]
    looks: Int[Tensor, "B"]
    light: Float[Tensor, "B 3"]
    """Light position relative to the camera."""
    ambient: Float[Tensor, "B 1 1 1"]
    background: Float[Tensor, "B h w 3"]

    def repeated(self, first: int, times: int) -> Surroundings:
        """The first ones, each repeated."""
        return Surroundings(*(getattr(self, field.name)[:first].repeat_interleave(times, 0) for field in fields(self)))


def draw_batch(
    store: ViewStore, count: int, size: int, generator: torch.Generator, siblings: tuple[int, int] = (0, 0)
) -> FamilyBatch:
    """Random images of pairs that are not held out.

    `siblings`: how many pictures of the batch get them, and how many each.
    """
    classes = torch.multinomial(torch.tensor(SHARES), count, replacement=True, generator=generator).tolist()
    names = [NAMES[c] for c in classes]
    colors = [_pick(TRAINING_COLORS[name], generator) for name in names]
    looks = torch.multinomial(torch.tensor(LOOKS), count, replacement=True, generator=generator)
    stored, angles = store.draw(classes, size, generator, even=True)
    views = [view_word(azimuth, elevation) for azimuth, elevation in angles.tolist()]
    around = draw_surroundings(torch.tensor([COLORS[c] for c in colors]), looks, size, generator)
    images = compose(stored, around)
    first, each = siblings
    more = images.new_zeros(0, 0, size, size, 3)
    if first * each:
        others = store.siblings(classes[:first], views[:first], each, size, generator)
        more = compose(others, around.repeated(first, each)).unflatten(0, (first, each))
    captions = [
        caption(name, None if look == TEXTURELESS else color, view, generator)
        for name, color, view, look in zip(names, colors, views, looks.tolist(), strict=True)
    ]
    images, more = (images * 2 - 1).permute(0, 3, 1, 2), (more * 2 - 1).permute(0, 1, 4, 2, 3)
    return FamilyBatch(images, captions, names, colors, views, looks.tolist(), more)


def draw_surroundings(
    color: Float[Tensor, "B 3"], looks: Int[Tensor, "B"], size: int, generator: torch.Generator
) -> Surroundings:
    """A random light near each camera, and a random background."""
    count = len(color)
    light = 0.8 * torch.randn(count, 3, generator=generator)
    ambient = 0.3 + 0.4 * torch.rand(count, 1, 1, 1, generator=generator)
    return Surroundings(color, looks, light, ambient, backgrounds(count, size, generator))


def compose(stored: StoredViews, around: Surroundings) -> Float[Tensor, "B h w 3"]:
    """Composite albedo, light and background to images in [0, 1]."""
    look = around.looks.view(-1, 1, 1, 1)
    albedo = stored.fixed + stored.painted * around.color[:, None, None]
    white = 0.9 * stored.coverage.expand_as(albedo)
    albedo = torch.where(look == TEXTURELESS, white, albedo)
    light = stored.camera + around.light
    normal = torch.nn.functional.normalize(stored.normal, dim=-1)
    lit = shade(albedo, normal, stored.position, light[:, None, None], around.ambient)
    foreground = torch.where(look == UNLIT, albedo, lit)
    return foreground + (1 - stored.coverage) * around.background


def backgrounds(count: int, size: int, generator: torch.Generator) -> Float[Tensor, "B h w 3"]:
    """Random colours and greys, half each; a quarter with a gradient to a second one."""

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
    """Random choice."""
    return items[int(torch.randint(len(items), (), generator=generator))]
