"""Scores of a reconstruction against the ground truth, with baselines."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from threefusion.camera.projection import clip_coordinates
from threefusion.ops.rasterize import rasterize
from threefusion.toyworld.captions import find_object, with_article
from threefusion.toyworld.catalogue import CLASSES, CONVEX
from threefusion.toyworld.objects import ToyObject, class_mesh
from threefusion.toyworld.palette import COLORS
from threefusion.toyworld.render import render_surface, scoring_cameras
from threefusion.types import Cameras

__all__ = ["find_object", "score", "scoring_cameras", "truth_views"]

MESH_RESOLUTION = 96
SILHOUETTES = Path(__file__).parents[1] / "bundled" / "toyworld-silhouettes.npz"
GREY = 0.5


class CameraKey:
    """Hashable cameras, as a cache key."""

    def __init__(self, cameras: Cameras) -> None:
        self.cameras = cameras
        self.key = (cameras.height, cameras.width, cameras.c2w.cpu().numpy().tobytes(), cameras.fovy.cpu().numpy().tobytes())

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CameraKey) and self.key == other.key


def truth_views(target: ToyObject, cameras: Cameras) -> tuple[Bool[Tensor, "V H W"], Float[Tensor, "V H W 3"]]:
    """Exact silhouettes and sRGB albedo of an object, 0 outside."""
    surface = render_surface(target.name, cameras, MESH_RESOLUTION)
    return surface.mask, surface.albedo(COLORS[target.color])


@lru_cache(maxsize=256)
def _class_masks(name: str, views: CameraKey) -> Bool[Tensor, "V H W"]:
    """Exact silhouettes of a class; those of the scoring cameras are bundled."""
    cameras = scoring_cameras()
    if SILHOUETTES.exists() and views == CameraKey(cameras):
        shape = (len(cameras), cameras.height, cameras.width)
        with np.load(SILHOUETTES) as packed:
            bits = np.unpackbits(packed[name.replace(" ", "_")], count=prod(shape))
        return torch.from_numpy(bits.reshape(shape).astype(bool))
    return rendered_masks(name, views)


def rendered_masks(name: str, views: CameraKey) -> Bool[Tensor, "V H W"]:
    """Rendered silhouettes of a class."""
    vertices, faces = class_mesh(name, MESH_RESOLUTION)
    return _silhouettes(vertices, faces, views.cameras)


def _silhouettes(vertices: Tensor, faces: Tensor, cameras: Cameras) -> Bool[Tensor, "V H W"]:
    """Silhouettes of a closed mesh."""
    clip = clip_coordinates(vertices, cameras)
    return rasterize(clip, faces, cameras.height, cameras.width, cull=True).face >= 0


@lru_cache(maxsize=256)
def _ellipsoid_masks(name: str, views: CameraKey) -> Bool[Tensor, "V H W"]:
    """Silhouettes of the bounding ellipsoid of a class, axis-aligned."""
    vertices, _ = class_mesh(name, MESH_RESOLUTION)
    low, high = vertices.amin(0), vertices.amax(0)
    sphere, faces = class_mesh("ball", MESH_RESOLUTION)
    unit = sphere / sphere.norm(dim=-1, keepdim=True)
    return _silhouettes(unit * (high - low) / 2 + (high + low) / 2, faces, views.cameras)


def mean_iou(first: Bool[Tensor, "V H W"], second: Bool[Tensor, "V H W"]) -> float:
    """Intersection over union, averaged over views; a view where both are empty counts as 1."""
    both = (first & second).sum((1, 2)).double()
    either = (first | second).sum((1, 2)).double()
    return torch.where(either > 0, both / either.clamp_min(1), 1.0).mean().item()


def color_error(albedo: Float[Tensor, "N 3"], truth: Float[Tensor, "N 3"]) -> float:
    """Mean over pixels of the Euclidean distance of sRGB colours (0 to √3)."""
    return (albedo - truth).norm(dim=-1).mean().item()


def best_gain(albedo: Float[Tensor, "N 3"], truth: Float[Tensor, "N 3"]) -> float:
    """Least-squares factor on all channels."""
    return ((albedo * truth).sum() / (albedo * albedo).sum().clamp_min(1e-12)).item()


def score(
    masks: Float[Tensor, "V H W"] | Bool[Tensor, "V H W"],
    albedo: Float[Tensor, "V H W 3"],
    target: ToyObject,
    cameras: Cameras,
) -> dict[str, float | str | bool | None]:
    """Compare views of a reconstruction with the ground truth.

    Args:
        masks: silhouettes, or opacities that are thresholded at 0.5.
        albedo: unlit sRGB colour, not premultiplied.
        target: the object.
        cameras: the cameras of the views.

    Returns:
        - `silhouette_iou`: mean IoU over views; `best_class`: the class with the highest mean IoU, None for an empty result;
          `geometric_retrieval`: whether it is the correct one.
        - `ellipsoid_iou`: score of the truth's bounding ellipsoid; `skill` = (iou - ellipsoid) / (1 - ellipsoid), None for balls;
          `best_wrong_class`, `best_wrong_class_iou`: best score of the truth of another class; `convex`: whether the class is.
        - `albedo_error`: mean Euclidean sRGB distance over pixels inside both silhouettes (√3 if there are none);
          `albedo_error_after_gain`: the same after the best gain; `constant_color_error`, `grey_error`: scores of the truth's
          silhouette in the caption's colour and in mid grey.
    """
    views = CameraKey(cameras)
    inside = masks if masks.dtype == torch.bool else masks >= 0.5
    truth, color = truth_views(target, cameras)
    iou = {name: mean_iou(inside, _class_masks(name, views)) for name in CLASSES}
    wrong = {name: mean_iou(truth, _class_masks(name, views)) for name in CLASSES if name != target.name}
    ellipsoid = mean_iou(truth, _ellipsoid_masks(target.name, views))
    best = max(iou, key=iou.__getitem__) if any(iou.values()) else None
    best_wrong = max(wrong, key=wrong.__getitem__)
    return {
        "silhouette_iou": iou[target.name],
        "best_class": best,
        "geometric_retrieval": best == target.name,
        "ellipsoid_iou": ellipsoid,
        "skill": (iou[target.name] - ellipsoid) / (1 - ellipsoid) if ellipsoid < 0.99 else None,
        "best_wrong_class": best_wrong,
        "best_wrong_class_iou": wrong[best_wrong],
        "convex": target.name in CONVEX,
        **_color_scores(inside, albedo, target, truth, color),
    }


def mismatch(scores: Mapping[str, Any]) -> str | None:
    """What is wrong with a result whose silhouettes match another class better than the prompted one, in one sentence."""
    if scores["geometric_retrieval"] is not False:
        return None
    looks = f"looks like {with_article(scores['best_class'])}" if scores["best_class"] else "cannot be seen"
    return (
        f"the mesh {looks} by its silhouettes, and not like what the prompt names (IoU {scores['silhouette_iou']:.2f}). "
        "Train longer, or try another seed or settings closer to the quickstart's"
    )


def _color_scores(
    inside: Tensor, albedo: Tensor, target: ToyObject, truth: Tensor, color: Tensor
) -> dict[str, float | str | bool]:
    """Colour scores."""
    shared = inside & truth
    pred, exact = albedo[shared].clamp(0, 1), color[shared]
    whole = color[truth]
    any_shared = bool(shared.any())
    return {
        "albedo_error": color_error(pred, exact) if any_shared else 3**0.5,
        "albedo_error_after_gain": color_error(pred * best_gain(pred, exact), exact) if any_shared else 3**0.5,
        "constant_color_error": color_error(whole.new_tensor(COLORS[target.color]).expand_as(whole), whole),
        "grey_error": color_error(torch.full_like(whole, GREY), whole),
    }
