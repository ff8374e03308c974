"""A scene and its renderer from a config, and back from a checkpoint. Lightning is not needed to render a result."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache, partial

import torch
from torch import Tensor

from threefusion.config import RunConfig
from threefusion.errors import UserError
from threefusion.geometry.geometry import BuildContext
from threefusion.registry import build
from threefusion.renderer.renderer import Renderer
from threefusion.system.conversion import hand_over_appearance, surface_of
from threefusion.types import Scene


def build_scene(config: RunConfig, previous: Scene | None = None, restoring: bool = False) -> tuple[Scene, Renderer]:
    """The untrained scene of a config and its renderer; the initial parameters are a function of `config.seed` alone.

    `previous` is the scene of the stage before, from which the parts that fit start; a geometry of another kind is converted,
    unless the scene is `restoring`: about to be loaded from a checkpoint.

    Raises:
        UserError: the renderer cannot render the geometry.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        material = build(config.material)
        generator = torch.Generator().manual_seed(config.seed)
        surface = None if previous is None or restoring else cache(partial(surface_of, previous))
        context = BuildContext(material.feature_width, previous, generator, surface, restoring)
        geometry = build(config.geometry, context)
        background = build(config.background)
        renderer = build(config.renderer)
    if not isinstance(geometry, renderer.needs):
        raise UserError(f"renderer: {type(renderer).__name__} cannot render the geometry {type(geometry).__name__}")
    scene = Scene(geometry, material, background)
    if previous is not None:
        start_from(scene, previous, convert=not restoring, seed=config.seed)
    return scene, renderer


def start_from(scene: Scene, previous: Scene, convert: bool, seed: int) -> None:
    """Give `scene` the heading of the stage before, and each part of the same class and shapes its parameters and buffers.

    To `convert`, a surface that does not fit takes over what it can of the colours.
    """
    scene.heading.copy_(previous.heading)
    copied = set()
    for name in ("geometry", "material", "background"):
        part, before = getattr(scene, name), getattr(previous, name)
        if type(part) is not type(before):
            continue
        state = before.state_dict()
        if name == "geometry":
            part.prepare_load(state)
        if shapes(part.state_dict()) == shapes(state):
            part.load_state_dict(state)
            copied.add(name)
    if convert and "geometry" not in copied:
        hand_over_appearance(scene, previous, seed)


def shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    """The shape of every tensor of a `state_dict`."""
    return {name: value.shape for name, value in state.items()}


def restore_scene(scene: Scene, renderer: Renderer, state: dict[str, Tensor]) -> None:
    """Load a checkpoint's state into a scene and a renderer that were built from the same config."""
    prepare_load(scene, state)
    for name, module in (("scene", scene), ("renderer", renderer)):
        module.load_state_dict(part_of(state, name))


def prepare_load(scene: Scene, state: dict[str, Tensor]) -> None:
    """Give the geometry's parameters the sizes that they have in a checkpoint, before it is loaded."""
    scene.geometry.prepare_load(part_of(state, "scene.geometry"))


def part_of(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    """The entries of a `state_dict` below `name`, without that prefix."""
    return {key.removeprefix(f"{name}."): value for key, value in state.items() if key.startswith(f"{name}.")}
