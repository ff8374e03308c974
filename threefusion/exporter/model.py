"""What the writers of files receive: a mesh, its size in the file, and what the file says about its origin."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

import threefusion
from threefusion.errors import UserError
from threefusion.exporter.topology import first_of, welding
from threefusion.types import Mesh

PRINTED = 100.0
"""Largest side of a model for printing in millimetres, if no height is given."""
GENERATOR = f"threefusion {threefusion.__version__}"


@dataclass(frozen=True)
class About:
    """The origin of a model."""

    prompt: str = ""
    seed: int | None = None
    models: tuple[str, ...] = ()
    """Name and licence of each model that guided the training."""

    @property
    def facts(self) -> dict[str, Any]:
        """What is known, for a file's metadata."""
        known = {"prompt": self.prompt, "seed": self.seed, "models": list(self.models)}
        return {name: value for name, value in known.items() if value not in ("", None, [])}

    @property
    def title(self) -> str:
        """The prompt in one line, for names: XML has no control characters."""
        return one_line(self.prompt)

    @property
    def comments(self) -> list[str]:
        """What is known in lines of text, the program first."""
        return [GENERATOR, *(one_line(f"{name}: {value}") for name, value in self.facts.items())]


@dataclass(frozen=True)
class FileOptions:
    """How a mesh is written."""

    height: float | None = None
    """In metres; None keeps a scene unit as a metre."""
    on_floor: bool = False
    """The lowest point is at height 0, and the middle of its box above the origin."""
    directx: bool = False
    """Normal maps that are files of their own have green downward."""
    web: bool = False
    """A compressed `model.web.glb` is written too."""
    about: About = field(default_factory=About)


@dataclass(frozen=True)
class Model:
    """A mesh in scene axes and scene units, and how it is written."""

    mesh: Mesh
    options: FileOptions = field(default_factory=FileOptions)

    @cached_property
    def scale(self) -> float:
        """Metres per scene unit."""
        if self.options.height is None:
            return 1.0
        size = self._high - self._low
        if size[2] < 1e-6 * size.max():
            raise UserError("height: the object is flat and has none; leave exporter.height out")
        return self.options.height / float(size[2])

    @cached_property
    def offset(self) -> tuple[float, float, float]:
        """Position of the scene's origin in metres, scene axes."""
        return self._standing(self.scale) if self.options.on_floor else (0.0, 0.0, 0.0)

    @cached_property
    def metres(self) -> Mesh:
        """The mesh in metres."""
        return self._moved(self.scale, self.offset)

    @cached_property
    def millimetres(self) -> Mesh:
        """The welded mesh in millimetres, standing on the floor above the origin."""
        largest = float((self._high - self._low).max())
        scale = PRINTED / max(largest, 1e-12) if self.options.height is None else 1000 * self.scale
        return welded(self._moved(scale, self._standing(scale)))

    @cached_property
    def _low(self) -> Float[Tensor, "3"]:
        return self.mesh.vertices.double().amin(0)

    @cached_property
    def _high(self) -> Float[Tensor, "3"]:
        return self.mesh.vertices.double().amax(0)

    def _standing(self, scale: float) -> tuple[float, float, float]:
        x, y, _ = (-scale * (self._low + self._high) / 2).tolist()
        return (x, y, -scale * float(self._low[2]))

    def _moved(self, scale: float, offset: tuple[float, float, float]) -> Mesh:
        if (scale, offset) == (1.0, (0.0, 0.0, 0.0)):
            return self.mesh
        vertices = self.mesh.vertices.double() * scale + torch.tensor(offset, dtype=torch.float64)
        return replace(self.mesh, vertices=vertices.float())


def one_line(text: str) -> str:
    """The text with a space for all that cannot be printed."""
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())


def welded(mesh: Mesh) -> Mesh:
    """The mesh with vertices at equal positions merged, with their mean normals, and colours if it has any."""
    vertices, index, kept = welding(mesh)
    normals = torch.zeros_like(vertices).index_add_(0, index, mesh.normals)
    colors = None if mesh.colors is None else mesh.colors[first_of(index, len(vertices))]
    return Mesh(vertices, index[mesh.faces[kept]], normals=normalize(normals, dim=-1), colors=colors)
