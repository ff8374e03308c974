"""Initialisation of a scene from another one: parts are copied, converted or fitted, and a line of output says which."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, partial

import torch
from torch import nn

from threefusion.errors import UserError
from threefusion.geometry.appearance import same_layout, shapes
from threefusion.geometry.fixed_mesh import ColoredMesh
from threefusion.geometry.geometry import BuildContext, Geometry, HasDensity, HasDistance, HasSurface
from threefusion.registry import entry_of, is_component
from threefusion.renderer.renderer import Renderer
from threefusion.system.conversion import POINTS, alike, colors_of, fit_colors, fit_field, inner_points, surface_of
from threefusion.types import Mesh, Scene


@dataclass(frozen=True)
class Source:
    """A scene that another one starts from."""

    scene: Scene
    renderer: Renderer | None
    """What has rendered it in training; None for a mesh file."""
    name: str
    """In the run's output, such as `stage coarse`."""


def context_of(feature_width: int, previous: Source | None, seed: int, restoring: bool) -> BuildContext:
    """The build context of a geometry: width of its features, the scene before and a function that extracts its surface."""
    generator, surface = torch.Generator().manual_seed(seed), None
    if previous is None:
        return BuildContext(feature_width, None, generator, restoring=restoring)
    if isinstance(previous.scene.geometry, HasDensity | HasDistance | HasSurface) and not restoring:
        surface = cache(partial(surface_of, previous.scene, previous.renderer))
    return BuildContext(feature_width, previous.scene, generator, surface, restoring=restoring)


def start_from(scene: Scene, source: Source, context: BuildContext, seed: int) -> None:
    """Give `scene` the heading of its source and what its parts can copy; convert a geometry that cannot.

    What has become of each part is written to `scene.origin`.
    """
    previous = source.scene
    scene.heading.copy_(previous.heading)
    parts = []
    for name in ("material", "background"):
        part, before = getattr(scene, name), getattr(previous, name)
        copied = copy_state(part, before)
        if source.renderer is not None and part.state_dict():  # a mesh file has neither
            parts.append(f"{name} {'copied' if copied else 'starts anew'}")
    how = "copied" if copy_geometry(scene.geometry, previous.geometry) else None
    if not context.restoring:
        how = how or convert(scene, source, context, seed)
        names = " -> ".join(dict.fromkeys(map(name_of, (previous.geometry, scene.geometry))))
        scene.origin = f"from {source.name}: {'; '.join([f'{names} {how}', *parts])}"


def copy_geometry(geometry: Geometry, before: nn.Module) -> bool:
    """Copy the parameters of a geometry of the same class and layout; false if there is none."""
    settings = [getattr(part, "cfg", None) for part in (geometry, before)]
    mean_the_same = all(
        same_layout(*values) if name == "encoding" else values[0] == values[1]
        for name in ("radius", "axes", "network", "encoding")
        for values in [[getattr(cfg, name, None) for cfg in settings]]
    )
    return mean_the_same and copy_state(geometry, before)


def copy_state(part: nn.Module, before: nn.Module) -> bool:
    """Copy all tensors of a part of the same class and shapes; false if it has others."""
    if type(part) is not type(before):
        return False
    own, state = part.state_dict(), before.state_dict()
    if isinstance(part, Geometry):
        part.prepare_load(state)
        if shapes(part.state_dict()) != shapes(state):
            part.prepare_load(own)
    fits = shapes(part.state_dict()) == shapes(state)
    part.load_state_dict(state if fits else own)
    return fits


def convert(scene: Scene, source: Source, context: BuildContext, seed: int) -> str:
    """Give the geometry the shape of its source, and the colours that it has there; in words, what was done.

    Features are copied if that can be done without a fit, otherwise fitted to those of the source if both materials read them
    alike, and to its base colours if not. Deterministic in `seed`.

    Raises:
        UserError: nothing of the surface of its source is in the geometry's ball, or its cells are too large for it.
    """
    geometry, previous = scene.geometry, source.scene
    if context.surface is None or geometry.takes_shape == "never":
        return "starts anew: it cannot take over this shape"
    colors = colors_of(scene, previous)
    if geometry.takes_shape == "fitted":
        fit_field(scene, context, colors, seed)
        return f"fitted to the shape{'' if colors is None else ' and the colours'}"
    if geometry.radius < previous.geometry.radius:  # an error if all of the surface is outside
        inner_points(context.surface(), POINTS, geometry.radius, torch.Generator().manual_seed(seed))
    if isinstance(geometry, HasSurface) and not len(geometry.mesh().faces):
        raise UserError("geometry: the shape to start from lies between the vertices of the grid; raise geometry.resolution")
    if colors is None:
        return "converted" + (", features start anew" if scene.material.feature_width else "")
    if alike(scene, previous) and geometry.copy_features(previous.geometry):
        return "converted, features copied"
    mesh = geometry.mesh() if isinstance(geometry, HasSurface) else context.surface()
    fit_colors(scene, Mesh(mesh.vertices.detach().cpu(), mesh.faces.cpu()), previous, colors, seed)
    return "converted, colours fitted"


def name_of(geometry: nn.Module) -> str:
    """The registered name of a geometry, or its class."""
    if isinstance(geometry, ColoredMesh):
        return "mesh"
    settings = getattr(geometry, "cfg", None)
    return entry_of(settings).name if is_component(settings) else type(geometry).__name__
