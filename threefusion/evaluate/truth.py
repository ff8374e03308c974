"""Comparison of a mesh with the ground truth of a toy object, in 3-D and in views."""

from __future__ import annotations

from functools import lru_cache
from math import degrees
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from threefusion.evaluate.solid import inside, lattice, volume_iou
from threefusion.evaluate.surface import SurfacePair, rotated, surface_samples
from threefusion.exporter.preview import SurfaceViews
from threefusion.toyworld.objects import RADIUS, ToyObject, class_mesh, class_sdf
from threefusion.toyworld.score import score, scoring_cameras
from threefusion.types import Mesh

MESH_RESOLUTION = 96
LATTICE = 64
"""Cells along each axis for the volume IoU."""
SAMPLES = 20_000
"""Points on each surface."""
THRESHOLD = 0.02
"""Threshold of the F-score, relative to the longest side of the truth's bounding box."""


def compare_with_truth(mesh: Mesh | None, seen: SurfaceViews | None, target: ToyObject) -> dict[str, Any]:
    """The values of `TRUTH_KEYS`; without a mesh distances are None and overlaps 0. `seen` are views from the scoring cameras."""
    return {"object": str(target), **solid_scores(mesh, target), **image_scores(seen, target)}


def image_scores(seen: SurfaceViews | None, target: ToyObject) -> dict[str, Any]:
    """Silhouette and albedo scores from the 24 scoring views, see `threefusion.toyworld.score`."""
    cameras = scoring_cameras()
    if seen is None:
        shape = (len(cameras), cameras.height, cameras.width)
        return score(torch.zeros(shape), torch.zeros(*shape, 3), target, cameras)
    return score(seen.mask[..., 0], seen.base_color, target, cameras)


def solid_scores(mesh: Mesh | None, target: ToyObject) -> dict[str, float | int | None]:
    """Volume IoU, Chamfer distance and F-score, as is and after the best yaw."""
    truth, again, extent = _truth_surface(target.name)
    floor = SurfacePair(again, truth).distances().chamfer
    points = truth[:0] if mesh is None else surface_samples(mesh, SAMPLES)[0]
    if len(points) == 0:
        overlaps = dict.fromkeys(("volume_iou", "volume_iou_best_yaw", "f_score", "f_score_best_yaw"), 0.0)
        missing = dict.fromkeys(("chamfer", "chamfer_best_yaw", "best_yaw_deg"))
        return {**overlaps, **missing, "chamfer_floor": floor}
    pair = SurfacePair(points, truth)
    yaw = pair.best_yaw()
    plain = pair.distances()
    best = plain if yaw == 0 else pair.distances(yaw)
    iou = overlap(mesh, target)
    return {
        "volume_iou": iou,
        "volume_iou_best_yaw": iou if yaw == 0 else overlap(Mesh(rotated(mesh.vertices, yaw), mesh.faces), target),
        "chamfer": plain.chamfer,
        "chamfer_best_yaw": best.chamfer,
        "chamfer_floor": floor,
        "f_score": plain.f_score(THRESHOLD * extent),
        "f_score_best_yaw": best.f_score(THRESHOLD * extent),
        "best_yaw_deg": degrees(yaw),
    }


def overlap(mesh: Mesh, target: ToyObject) -> float:
    """Volume IoU of the mesh and the ground truth, on a lattice that contains both."""
    # meshes within the usual radius share one lattice, so that the truth is evaluated once
    reach = float(mesh.vertices.norm(dim=-1).max())
    half = RADIUS if reach <= RADIUS else reach * 1.01
    resolution = round(LATTICE * half / RADIUS) if reach <= 4 * RADIUS else 4 * LATTICE
    return volume_iou(inside(mesh, half, resolution), truth_solid(target.name, half, resolution))


@lru_cache(maxsize=64)
def truth_solid(name: str, half: float, resolution: int) -> Bool[Tensor, "n n n"]:
    """Whether lattice points lie inside a class, by its signed distance."""
    with torch.no_grad():
        parts = [class_sdf(name, points) < 0 for points in lattice(half, resolution).split(1 << 18)]
    return torch.cat(parts).view(resolution, resolution, resolution)


@lru_cache(maxsize=64)
def _truth_surface(name: str) -> tuple[Float[Tensor, "N 3"], Float[Tensor, "N 3"], float]:
    """Two independent sets of surface samples of a class, and the longest side of its bounding box."""
    mesh = Mesh(*class_mesh(name, MESH_RESOLUTION))
    extent = float((mesh.vertices.amax(0) - mesh.vertices.amin(0)).max())
    return surface_samples(mesh, SAMPLES, seed=1)[0], surface_samples(mesh, SAMPLES, seed=2)[0], extent
