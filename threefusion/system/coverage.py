"""What the training views should see of a surface, and what they have seen of its texels."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from threefusion.camera.coverage import candidate_directions, visible
from threefusion.camera.sampler import CameraSampler
from threefusion.geometry.closest import points_on, sample_surface
from threefusion.geometry.geometry import Geometry, HasSurface
from threefusion.geometry.textured_mesh import TexturedMesh
from threefusion.types import Mesh, Scene

POINTS = 1 << 15
"""Points of a surface, or of its texels, that decide about coverage."""
CANDIDATES = 128


@torch.no_grad()
def plan_views(camera: CameraSampler, scene: Scene) -> None:
    """Let a camera sampler that plans its views know the surface of a scene."""
    if camera.plans and isinstance(scene.geometry, HasSurface):
        camera.plan(scene.geometry.mesh(), *surface_points(scene.geometry), scene.heading)


def surface_points(geometry: HasSurface) -> tuple[Float[Tensor, "N 3"], Float[Tensor, "N 3"]]:
    """Points under texels that may change, or all over a surface without texels, with normals."""
    if isinstance(geometry, TexturedMesh):
        rows = some_texels(geometry)
        return geometry.point[rows], geometry.normal[rows]
    mesh = geometry.mesh()
    mesh = Mesh(mesh.vertices.detach().cpu(), mesh.faces.cpu())
    face, weights = sample_surface(mesh, POINTS, torch.Generator().manual_seed(0))
    a, b, c = mesh.vertices[mesh.faces[face]].unbind(1)
    return points_on(mesh, face, weights), normalize(torch.linalg.cross(b - a, c - a), dim=-1)


def some_texels(geometry: TexturedMesh) -> Tensor:
    """Texels that may change, every few of them if there are many."""
    rows = geometry.free.any(-1).nonzero()[:, 0]
    return rows[:: max(len(rows) // POINTS, 1)]


@torch.no_grad()
def seen_texels(geometry: Geometry) -> float | None:
    """Of the texels that may change and can be seen from outside, the share that a pixel of a training view has read.

    None for geometries without texels, and where nothing can be seen.
    """
    if not isinstance(geometry, TexturedMesh):
        return None
    rows = some_texels(geometry)
    outside = visible(geometry.mesh(), geometry.point[rows], geometry.normal[rows], candidate_directions(CANDIDATES)).any(0)
    return float(geometry.seen[rows].cpu()[outside].float().mean()) if outside.any() else None
