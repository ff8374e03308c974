"""Repair of extracted surfaces: components, smoothing, decimation, orientation."""

from __future__ import annotations

import numpy as np
import scipy
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from threefusion.ops.collapse import collapse_edges
from threefusion.ops.join import join
from threefusion.types import Mesh

TAUBIN = (0.5, -0.53)
"""Shrinking and growing factor of a Taubin pass: their sum must be slightly negative."""


def weld(mesh: Mesh) -> Mesh:
    """The mesh with vertices at equal positions merged, without normals and uv."""
    vertices, index, kept = welding(mesh)
    return Mesh(vertices, index[mesh.faces[kept]])


def welding(mesh: Mesh) -> tuple[Float[Tensor, "V2 3"], Int[Tensor, "V"], Bool[Tensor, "F"]]:
    """Distinct positions, the one of each vertex, and which faces remain when vertices at equal positions are merged.

    Faces that thereby lose their area are dropped, and so are pairs of faces that then cover each other back to back.
    """
    vertices, index = torch.unique(mesh.vertices, dim=0, return_inverse=True)
    a, b, c = index[mesh.faces].unbind(-1)
    thin = (a == b) | (b == c) | (c == a)
    turn = torch.where((a < b) ^ (b < c) ^ (c < a), -1, 1)  # -1 where a face runs through its vertices against their order
    group = torch.unique(index[mesh.faces].sort(1).values, dim=0, return_inverse=True)[1]
    return vertices, index, ~thin & (torch.zeros_like(group).index_add_(0, group, turn)[group] != 0)


def first_of(index: Int[Tensor, "N"], count: int) -> Int[Tensor, "M"]:
    """Where each number below `count` stands first; assignments with repeated indices leave any of them, as threads come."""
    return index.new_full((count,), len(index)).scatter_reduce_(0, index, torch.arange(len(index)), "amin")


def signed_volume(mesh: Mesh) -> float:
    """Volume enclosed by a closed mesh, positive when the winding is outward."""
    return float(_volumes(mesh).sum())


def _volumes(mesh: Mesh) -> Float[Tensor, "F"]:
    """Signed volume of the tetrahedron that each face spans with the origin."""
    a, b, c = mesh.vertices.double()[mesh.faces].unbind(1)
    return (a * torch.linalg.cross(b, c)).sum(-1) / 6


def is_watertight(mesh: Mesh) -> bool:
    """Whether every directed edge has exactly one twin that runs the other way: closed, manifold along edges, evenly wound."""
    if len(mesh.faces) == 0:
        return False
    start, end = mesh.faces.flatten().numpy(), mesh.faces.roll(-1, 1).flatten().numpy()
    edges = np.sort(start * len(mesh.vertices) + end)
    twins = np.sort(end * len(mesh.vertices) + start)
    return bool((edges == twins).all() and (np.diff(edges) > 0).all())


def components(mesh: Mesh) -> list[Mesh]:
    """The connected parts of the mesh, the one with the largest volume first; cavities have negative volumes and come last."""
    faces = mesh.faces.numpy()
    places = faces.ravel(), np.roll(faces, -1, 1).ravel()
    links = scipy.sparse.coo_matrix((np.ones(faces.size), places), shape=(len(mesh.vertices),) * 2)
    count, label = scipy.sparse.csgraph.connected_components(links, directed=False)
    label = torch.from_numpy(label.astype(np.int64))[mesh.faces[:, 0]]
    volume = torch.zeros(count, dtype=torch.float64).scatter_add_(0, label, _volumes(mesh))
    used = torch.bincount(label, minlength=count) > 0
    return [_compact(mesh, label == part) for part in volume.argsort(descending=True).tolist() if used[part]]


def _compact(mesh: Mesh, keep: Tensor) -> Mesh:
    """The chosen faces with the vertices they use."""
    used, faces = torch.unique(mesh.faces[keep], return_inverse=True)
    return Mesh(mesh.vertices[used], faces)


def main_components(mesh: Mesh, smallest: float) -> tuple[Mesh, float]:
    """The parts that enclose at least `smallest` times what the largest does, and the share of volume dropped with the others.

    Cavities, which nothing outside can see, are dropped too and do not count.
    """
    parts = components(mesh)
    enclosed = [max(signed_volume(part), 0.0) for part in parts]
    kept = [i for i, volume in enumerate(enclosed) if i == 0 or volume >= max(smallest * enclosed[0], 1e-30)]
    return join([parts[i] for i in kept]), 1 - sum(enclosed[i] for i in kept) / max(sum(enclosed), 1e-30)


def smooth(mesh: Mesh, passes: int) -> Mesh:
    """The mesh after Taubin's smoothing (SIGGRAPH 1995), which takes noise away without shrinking the shape."""
    faces = mesh.faces.numpy()
    count = len(mesh.vertices)
    places = faces.ravel(), np.roll(faces, -1, 1).ravel()
    links = scipy.sparse.coo_matrix((np.ones(faces.size), places), shape=(count, count)).tocsr()
    links = ((links + links.T) > 0).astype(np.float64)
    mean = scipy.sparse.diags(1 / np.maximum(np.asarray(links.sum(1)).ravel(), 1)) @ links
    vertices = mesh.vertices.double().numpy()
    for _ in range(passes):
        for factor in TAUBIN:
            vertices = vertices + factor * (mean @ vertices - vertices)
    return Mesh(torch.from_numpy(vertices.astype(np.float32)), mesh.faces)


def decimate(mesh: Mesh, max_faces: int) -> Mesh:
    """At most `max_faces` faces; a watertight mesh stays watertight, and keeps its parts and handles."""
    if len(mesh.faces) <= max_faces:
        return mesh
    return Mesh(*collapse_edges(mesh.vertices, mesh.faces, max_faces))


def surface_area(mesh: Mesh) -> float:
    """Surface area in square scene units."""
    return float(_areas(mesh).sum())


def area_beyond(mesh: Mesh, distance: float) -> float:
    """Share of the area in faces whose centres are farther from the origin."""
    far = mesh.vertices[mesh.faces].mean(1).norm(dim=-1) > distance
    areas = _areas(mesh)
    return float(areas[far].sum() / areas.sum().clamp_min(1e-300))


def _areas(mesh: Mesh) -> Float[Tensor, "F"]:
    a, b, c = mesh.vertices.double()[mesh.faces].unbind(1)
    return torch.linalg.cross(b - a, c - a).norm(dim=-1) / 2
