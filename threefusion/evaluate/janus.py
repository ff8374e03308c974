"""Janus index: whether an object shows its front on more than one side."""

from __future__ import annotations

from functools import lru_cache
from math import radians
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.evaluate.keys import JANUS_KEYS
from threefusion.evaluate.specimens import truth_mesh
from threefusion.evaluate.views import shaded_views
from threefusion.toyworld.objects import ToyObject
from threefusion.toyworld.render import scoring_cameras
from threefusion.types import Cameras, Mesh

AZIMUTHS = 24
ELEVATION = 15.0
"""Degrees."""
BEHIND = 90.0
"""Azimuth in degrees beyond which a front counts as a second one."""
EVIDENCE = 0.5
DIFFERENT = 0.02
"""Minimum mean absolute colour difference over foreground pixels between the front and every view behind."""
COMPARED_SIZE = 48


class FrontClassifier:
    """Classifies whether a view shows the object's front."""

    size: int
    """Height and width of its input images."""

    def __call__(self, images: Float[Tensor, "B H W 3"], target: ToyObject) -> Float[Tensor, "B"]:
        """Probability that each image shows the object from the front."""
        raise NotImplementedError


class TruthFrontClassifier(FrontClassifier):
    """Nearest neighbour among views of the ground truth: front if its azimuth is within 45 degrees."""

    size = 48

    def __call__(self, images: Float[Tensor, "B H W 3"], target: ToyObject) -> Float[Tensor, "B"]:
        """1 or 0."""
        cameras, truth = _truth_views(target, self.size)
        distance = torch.cdist(images.flatten(1), truth.flatten(1))
        return (cameras.azimuth.abs().rad2deg() < 45)[distance.argmin(-1)].float()


def janus_cameras(size: int) -> Cameras:
    """24 views at uniform azimuths, elevation 15 degrees."""
    return scoring_cameras(size, AZIMUTHS, (ELEVATION,))


@lru_cache(maxsize=16)
def _truth_views(target: ToyObject, size: int) -> tuple[Cameras, Float[Tensor, "B H W 3"]]:
    """Shaded views of the ground truth from the Janus cameras."""
    cameras = janus_cameras(size)
    return cameras, shaded_views(truth_mesh(target), cameras)[0]


@lru_cache(maxsize=64)
def has_visible_front(target: ToyObject) -> bool:
    """Whether the front view of the ground truth differs from each of its views beyond 90 degrees."""
    cameras, images = _truth_views(target, COMPARED_SIZE)
    behind = cameras.azimuth.abs() > radians(BEHIND + 0.1)
    empty = images[0, 0, 0]
    seen = ((images[:1] - empty).abs().amax(-1) > 0.02) | ((images[behind] - empty).abs().amax(-1) > 0.02)
    difference = (images[:1] - images[behind]).abs().mean(-1).sum((1, 2)) / seen.sum((1, 2)).clamp_min(1)
    return bool(difference.min() > DIFFERENT)


def front_profile(
    images: Float[Tensor, "B H W 3"], cameras: Cameras, target: ToyObject, classifier: FrontClassifier
) -> dict[str, float]:
    """Janus index of views (1 if f ≥ 0.5 anywhere beyond 90 degrees), f at the front, and the maximum of f behind."""
    front = classifier(images, target)
    behind = front[cameras.azimuth.abs() > radians(BEHIND + 0.1)].max()
    return {"janus": float(behind >= EVIDENCE), "in_front": float(front[0]), "behind": float(behind)}


def janus(mesh: Mesh | None, target: ToyObject | None, classifier: FrontClassifier | None) -> dict[str, Any]:
    """The values of `JANUS_KEYS`; `janus` is None where it is undefined.

    It is undefined without a mesh, a toy object or a classifier, for a class without a visible front, and if the classifier finds
    a second front on the ground truth.
    """
    missing: dict[str, Any] = dict.fromkeys(JANUS_KEYS)
    if target is None or classifier is None or not has_visible_front(target):
        return missing
    cameras, truth = _truth_views(target, classifier.size)
    truth_index = front_profile(truth, cameras, target, classifier)["janus"]
    if mesh is None:
        return missing | {"janus_of_truth": truth_index}
    result = front_profile(shaded_views(mesh, cameras)[0], cameras, target, classifier)
    return {
        "janus": result["janus"] if truth_index == 0 else None,
        "janus_of_truth": truth_index,
        "front_probability_in_front": result["in_front"],
        "front_probability_behind": result["behind"],
    }
