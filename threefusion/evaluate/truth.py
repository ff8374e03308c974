"""A mesh against the exact truth of a toy object, in three dimensions and in pictures."""

from __future__ import annotations

from functools import lru_cache
from math import degrees
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from threefusion.evaluate.solid import inside, lattice, volume_iou
from threefusion.evaluate.surface import SurfacePair, surface_samples, turned
from threefusion.exporter.preview import SurfaceViews
from threefusion.toyworld.objects import RADIUS, ToyObject, class_mesh, class_sdf
from threefusion.toyworld.score import score, scoring_cameras
from threefusion.types import Mesh

MESH_RESOLUTION = 96
LATTICE = 64
"""Cells along each axis for the volume."""
SAMPLES = 20_000
"""Points on each surface."""
THRESHOLD = 0.02
"""F-score's tolerance, as a share of the longest side of the truth's bounding box."""


def against_truth(mesh: Mesh | None, seen: SurfaceViews | None, thing: ToyObject) -> dict[str, Any]:
    """The numbers of `TRUTH_KEYS`; distances are None, overlaps 0 where there is no mesh. `seen`: from the scoring cameras."""
    return {"object": str(thing), **solid_scores(mesh, thing), **picture_scores(seen, thing)}


def picture_scores(seen: SurfaceViews | None, thing: ToyObject) -> dict[str, Any]:
    """Silhouettes and albedo from the 24 scoring views; `threefusion.toyworld.score` defines them."""
    cameras = scoring_cameras()
    if seen is None:
        shape = (len(cameras), cameras.height, cameras.width)
        return score(torch.zeros(shape), torch.zeros(*shape, 3), thing, cameras)
    return score(seen.mask[..., 0], seen.base_color, thing, cameras)


def solid_scores(mesh: Mesh | None, thing: ToyObject) -> dict[str, float | int | None]:
    """Volume IoU, Chamfer distance and F-score as the mesh stands and after the best yaw."""
    truth, again, extent = _truth_surface(thing.name)
    floor = SurfacePair(again, truth).distances().chamfer
    points = truth[:0] if mesh is None else surface_samples(mesh, SAMPLES)[0]
    if len(points) == 0:
        overlaps = dict.fromkeys(("volume_iou", "volume_iou_best_yaw", "f_score", "f_score_best_yaw"), 0.0)
        nothing = dict.fromkeys(("chamfer", "chamfer_best_yaw", "best_yaw_deg"))
        return {**overlaps, **nothing, "chamfer_floor": floor}
    pair = SurfacePair(points, truth)
    yaw = pair.best_yaw()
    plain = pair.distances()
    best = plain if yaw == 0 else pair.distances(yaw)
    iou = overlap(mesh, thing)
    return {
        "volume_iou": iou,
        "volume_iou_best_yaw": iou if yaw == 0 else overlap(Mesh(turned(mesh.vertices, yaw), mesh.faces), thing),
        "chamfer": plain.chamfer,
        "chamfer_best_yaw": best.chamfer,
        "chamfer_floor": floor,
        "f_score": plain.f_score(THRESHOLD * extent),
        "f_score_best_yaw": best.f_score(THRESHOLD * extent),
        "best_yaw_deg": degrees(yaw),
    }


def overlap(mesh: Mesh, thing: ToyObject) -> float:
    """Volume IoU of the mesh and the object's exact solid, on a lattice that holds both."""
    # one lattice for all that stays near the truth, so that the truth is asked for once
    reach = float(mesh.vertices.norm(dim=-1).max())
    half = RADIUS if reach <= RADIUS else reach * 1.01
    resolution = round(LATTICE * half / RADIUS) if reach <= 4 * RADIUS else 4 * LATTICE
    return volume_iou(inside(mesh, half, resolution), truth_solid(thing.name, half, resolution))


@lru_cache(maxsize=64)
def truth_solid(name: str, half: float, resolution: int) -> Bool[Tensor, "n n n"]:
    """Which lattice points lie inside a class, by its signed distance."""
    with torch.no_grad():
        parts = [class_sdf(name, points) < 0 for points in lattice(half, resolution).split(1 << 18)]
    return torch.cat(parts).view(resolution, resolution, resolution)


@lru_cache(maxsize=64)
def _truth_surface(name: str) -> tuple[Float[Tensor, "N 3"], Float[Tensor, "N 3"], float]:
    """Two independent sets of samples of a class's surface, and the longest side of its bounding box."""
    mesh = Mesh(*class_mesh(name, MESH_RESOLUTION))
    extent = float((mesh.vertices.amax(0) - mesh.vertices.amin(0)).max())
    return surface_samples(mesh, SAMPLES, seed=1)[0], surface_samples(mesh, SAMPLES, seed=2)[0], extent
