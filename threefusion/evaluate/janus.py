"""Whether an object shows its front on more than one side."""

from __future__ import annotations

from functools import lru_cache
from math import radians
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.evaluate.keys import JANUS_KEYS
from threefusion.evaluate.specimens import truth_mesh
from threefusion.evaluate.views import pictures
from threefusion.toyworld.objects import ToyObject
from threefusion.toyworld.render import scoring_cameras
from threefusion.types import Cameras, Mesh

AZIMUTHS = 24
ELEVATION = 15.0
"""Degrees."""
BEHIND = 90.0
"""Degrees of azimuth from which on a front is one too many."""
EVIDENCE = 0.5
DIFFERENT = 0.02
"""Mean absolute difference of colours over the seen pixels by which a front must differ from every view behind."""
COMPARED_SIZE = 48


class FrontClassifier:
    """Whoever can tell an object's front."""

    size: int
    """Height and width of the pictures that it wants."""

    def __call__(self, images: Float[Tensor, "B H W 3"], thing: ToyObject) -> Float[Tensor, "B"]:
        """How probable it is that each picture shows the object from its front."""
        raise NotImplementedError


class TruthFrontClassifier(FrontClassifier):
    """Certain about every picture: the front is seen if the truth's view most like it stands within 45 degrees."""

    size = 48

    def __call__(self, images: Float[Tensor, "B H W 3"], thing: ToyObject) -> Float[Tensor, "B"]:
        """1 or 0."""
        cameras, known = _truth_pictures(thing, self.size)
        distance = torch.cdist(images.flatten(1), known.flatten(1))
        return (cameras.azimuth.abs().rad2deg() < 45)[distance.argmin(-1)].float()


def janus_cameras(size: int) -> Cameras:
    """24 views evenly round the object, 15 degrees up."""
    return scoring_cameras(size, AZIMUTHS, (ELEVATION,))


@lru_cache(maxsize=16)
def _truth_pictures(thing: ToyObject, size: int) -> tuple[Cameras, Float[Tensor, "B H W 3"]]:
    """The truth from the janus cameras, in colour."""
    cameras = janus_cameras(size)
    return cameras, pictures(truth_mesh(thing), cameras)[0]


@lru_cache(maxsize=64)
def has_visible_front(thing: ToyObject) -> bool:
    """Whether the truth's front looks different from each of its views beyond 90 degrees."""
    cameras, images = _truth_pictures(thing, COMPARED_SIZE)
    behind = cameras.azimuth.abs() > radians(BEHIND + 0.1)
    empty = images[0, 0, 0]
    seen = ((images[:1] - empty).abs().amax(-1) > 0.02) | ((images[behind] - empty).abs().amax(-1) > 0.02)
    difference = (images[:1] - images[behind]).abs().mean(-1).sum((1, 2)) / seen.sum((1, 2)).clamp_min(1)
    return bool(difference.min() > DIFFERENT)


def profile(
    images: Float[Tensor, "B H W 3"], cameras: Cameras, thing: ToyObject, classifier: FrontClassifier
) -> dict[str, float]:
    """Janus index of pictures: 1 if f ≥ 0.5 anywhere beyond 90 degrees; f at the front, and its highest value behind."""
    front = classifier(images, thing)
    behind = front[cameras.azimuth.abs() > radians(BEHIND + 0.1)].max()
    return {"janus": float(behind >= EVIDENCE), "in_front": float(front[0]), "behind": float(behind)}


def janus(mesh: Mesh | None, thing: ToyObject | None, classifier: FrontClassifier | None) -> dict[str, Any]:
    """The values of `JANUS_KEYS`; `janus` is None where it could not mean anything.

    That is so without a mesh, a toy object or a classifier, for a class without a visible front, and where the classifier sees a
    second front on the truth itself.
    """
    nothing: dict[str, Any] = dict.fromkeys(JANUS_KEYS)
    if thing is None or classifier is None or not has_visible_front(thing):
        return nothing
    cameras, truth = _truth_pictures(thing, classifier.size)
    own = profile(truth, cameras, thing, classifier)["janus"]
    if mesh is None:
        return nothing | {"janus_of_truth": own}
    found = profile(pictures(mesh, cameras)[0], cameras, thing, classifier)
    return {
        "janus": found["janus"] if own == 0 else None,
        "janus_of_truth": own,
        "front_probability_in_front": found["in_front"],
        "front_probability_behind": found["behind"],
    }
