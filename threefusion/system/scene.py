"""A scene and its renderer from a config, and back from a checkpoint. Lightning is not needed to render a result."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from threefusion.config import RunConfig
from threefusion.errors import UserError
from threefusion.machine.random import seeded
from threefusion.registry import build
from threefusion.renderer.renderer import Renderer
from threefusion.system.mesh_file import reader
from threefusion.system.start import Source, context_of, start_from
from threefusion.types import Scene


def build_scene(config: RunConfig, previous: Source | None = None, restoring: bool = False) -> tuple[Scene, Renderer]:
    """The untrained scene of a config and its renderer; the initial parameters are a function of `config.seed` alone.

    `previous` is what it starts from: parts that fit are copied, and a geometry with other parameters is converted, unless the
    scene is `restoring`: about to be loaded from a checkpoint.

    Raises:
        UserError: the renderer cannot render the geometry, or `previous` is empty.
    """
    with seeded(config.seed):
        material = build(config.material)
        context = replace(
            context_of(material.feature_width, previous, config.seed, restoring),
            asset=reader(config.geometry),
            texture_features=material.texture_features,
            features_of=material.features_of,
        )
        geometry = build(config.geometry, context)
        background = build(config.background)
        renderer = build(config.renderer)
    if not isinstance(geometry, renderer.needs):
        raise UserError(f"renderer: {type(renderer).__name__} cannot render the geometry {type(geometry).__name__}")
    scene = Scene(geometry, material, background)
    if previous is not None:
        start_from(scene, previous, context, config.seed)
    return scene, renderer


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
