"""Meshes whose vertices stay: one whose features are learned, and one that shows the colours of a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample

from threefusion.errors import UserError
from threefusion.geometry.appearance import Appearance
from threefusion.geometry.closest import SurfaceIndex
from threefusion.geometry.geometry import BuildContext, Geometry, HasSurface
from threefusion.geometry.settings import FixedMeshConfig
from threefusion.types import Mesh

GRAY = 0.5
"""Base colour of a mesh without colours."""


class FixedMesh(HasSurface):
    """The surface of a file, a run or the stage before; features are learned, vertices are not."""

    keeps_mesh: ClassVar[bool] = True
    takes_shape: ClassVar[str] = "built"

    def __init__(self, cfg: FixedMeshConfig, context: BuildContext) -> None:
        super().__init__(cfg)
        if context.feature_width == 0:
            raise UserError(
                "geometry: a fixed-mesh learns the appearance alone, and this material has none to learn. Use another material, "
                "or the geometry tetrahedra"
            )
        self.radius = cfg.radius
        mesh = Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64)) if context.restoring else _given(context)
        self.register_buffer("vertices", mesh.vertices.detach().float().clone())
        self.register_buffer("faces", mesh.faces.clone())
        self.appearance = Appearance(cfg.encoding, cfg.hidden_width, cfg.hidden_layers, context.feature_width, cfg.radius)

    def prepare_load(self, state: Mapping[str, Tensor]) -> None:
        """Make room for the mesh of a checkpoint."""
        for name in ("vertices", "faces"):
            if name in state:
                setattr(self, name, torch.zeros_like(state[name], device=self.vertices.device))

    def mesh(self) -> Mesh:
        """The mesh."""
        return Mesh(self.vertices, self.faces)

    def features(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N D"]:
        """Features at points."""
        return self.appearance(points)

    def copy_features(self, before: Geometry) -> bool:
        """Take over encoding and network if they fit."""
        return self.appearance.copy_from(before)


def _given(context: BuildContext) -> Mesh:
    if context.surface is None:
        raise UserError(
            "geometry: a fixed-mesh has to start from something: set geometry.init_from to a run or a mesh file "
            "(.glb, .gltf, .obj, .ply, .stl), or make it a stage after another geometry"
        )
    return context.surface()


class ColoredMesh(HasSurface):
    """A mesh with colours as a scene to start from: its features are the logits of the base colour at the closest point."""

    def __init__(self, mesh: Mesh, radius: float) -> None:
        super().__init__()
        self.radius, self.shown, self.index = radius, mesh, SurfaceIndex(mesh)
        # follow the scene to a device, where it is rendered; colours are looked up on the CPU
        self.register_buffer("vertices", mesh.vertices, persistent=False)
        self.register_buffer("faces", mesh.faces, persistent=False)

    def mesh(self) -> Mesh:
        """The mesh, without its colours."""
        return Mesh(self.vertices, self.faces)

    def features(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """Logits of the colour at the closest point of the surface."""
        closest = self.index.closest(points)
        if self.shown.colors is not None:
            color = self._interpolate(self.shown.colors, closest.face, closest.weights)
        elif self.shown.uv is not None and self.shown.textures:
            uv = self._interpolate(self.shown.uv, closest.face, closest.weights)
            texture = self.shown.textures["base_color"].permute(2, 0, 1)[None]
            where = torch.stack([2 * (uv[:, 0] % 1) - 1, 1 - 2 * (uv[:, 1] % 1)], -1)
            color = grid_sample(texture, where[None, None], align_corners=False, padding_mode="border")[0, :, 0].T
        else:
            color = torch.full((len(points), 3), GRAY)
        return torch.logit(color.clamp(0, 1), 1e-3).to(points.device)

    def _interpolate(self, values: Tensor, face: Tensor, weights: Tensor) -> Tensor:
        return (weights[..., None] * values[self.shown.faces[face]]).sum(1)
