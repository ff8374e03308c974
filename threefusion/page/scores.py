"""What the numbers of a run mean, in one line each, and how they are written. Loads no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MEASURED = ("text_image", "truth", "pathology", "fidelity", "cost")
"""Sections of an evaluation with numbers."""
SECTIONS = {
    "text_image": "Text and image",
    "truth": "Ground truth",
    "pathology": "Defects",
    "fidelity": "Mesh against scene",
    "export": "Export",
    "cost": "Cost",
}
"""Headings of the scores by section."""
HIGH, LOW = "higher is better", "lower is better"


@dataclass(frozen=True)
class Meaning:
    """One number: what it is, and which way is better."""

    text: str
    better: str = ""


_UNLIT = "colours, as sRGB distance"
MEANINGS = {
    "text_image.similarity": Meaning("cosine similarity of views and prompt, by a CLIP model that did not guide the run", HIGH),
    "text_image.r_precision": Meaning("share of views whose nearest caption is the prompt", HIGH),
    "text_image.rank": Meaning("rank of the prompt among the captions, 1 is best", LOW),
    "text_image.retrieved": Meaning("whether the prompt is the nearest caption of all views together", HIGH),
    "text_image.candidates": Meaning("number of captions to choose from"),
    "text_image.textureless_similarity": Meaning("similarity of views without colour: the shape alone", HIGH),
    "text_image.textureless_r_precision": Meaning("R-precision of views without colour: the shape alone", HIGH),
    "text_image.textureless_rank": Meaning("rank of the prompt, from views without colour", LOW),
    "text_image.textureless_retrieved": Meaning("whether the prompt is the nearest caption, from views without colour", HIGH),
    "text_image.textureless_candidates": Meaning("number of captions for views without colour"),
    "truth.object": Meaning("the object that the prompt names"),
    "truth.volume_iou": Meaning("overlap of the solids, 1 is the ground truth", HIGH),
    "truth.volume_iou_best_yaw": Meaning("overlap of the solids after the best turn about the vertical axis", HIGH),
    "truth.chamfer": Meaning("mean distance of the surfaces, in scene units", LOW),
    "truth.chamfer_best_yaw": Meaning("mean distance of the surfaces after the best turn", LOW),
    "truth.chamfer_floor": Meaning("the lowest Chamfer distance that can be measured"),
    "truth.f_score": Meaning("share of the surfaces within 2 % of the object's size of each other", HIGH),
    "truth.f_score_best_yaw": Meaning("F-score after the best turn", HIGH),
    "truth.best_yaw_deg": Meaning("the turn that fits best, in degrees; 0 faces the right way"),
    "truth.silhouette_iou": Meaning("overlap of the silhouettes, 1 is the ground truth", HIGH),
    "truth.best_class": Meaning("the class whose silhouettes fit best"),
    "truth.geometric_retrieval": Meaning("whether the silhouettes fit the prompted class best", HIGH),
    "truth.ellipsoid_iou": Meaning("silhouette overlap of the object's bounding ellipsoid: the baseline"),
    "truth.skill": Meaning("how far the silhouettes are from the ellipsoid (0) to the ground truth (1)", HIGH),
    "truth.best_wrong_class": Meaning("the wrong class that fits best"),
    "truth.best_wrong_class_iou": Meaning("silhouette overlap with the wrong class that fits best"),
    "truth.convex": Meaning("whether the object is convex, so that the ellipsoid is close to it"),
    "truth.albedo_error": Meaning(f"mean difference of unlit {_UNLIT}", LOW),
    "truth.albedo_error_after_gain": Meaning(f"the same after one gain on all channels of the {_UNLIT}", LOW),
    "truth.constant_color_error": Meaning("colour error of the object in one colour: the baseline"),
    "truth.grey_error": Meaning("colour error of the object in grey: the baseline"),
    "pathology.janus": Meaning("1 if a front is seen from behind", LOW),
    "pathology.janus_of_truth": Meaning("the same for the ground truth"),
    "pathology.front_probability_in_front": Meaning("how sure the classifier is of the front, from the front", HIGH),
    "pathology.front_probability_behind": Meaning("how sure the classifier is of a front, from behind", LOW),
    "pathology.components": Meaning("connected parts of the mesh", LOW),
    "pathology.floater_area": Meaning("share of the area outside the largest part", LOW),
    "pathology.floater_volume": Meaning("share of the volume outside the largest part", LOW),
    "pathology.dropped_volume": Meaning("share of the volume that the exporter dropped as small parts", LOW),
    "pathology.emptiness": Meaning("share of views in which nothing is seen", LOW),
    "pathology.saturation": Meaning("mean saturation of the colours"),
    "pathology.clipped": Meaning("share of pixels with a channel at its limit", LOW),
    "pathology.opacity_entropy": Meaning("0: the scene is hard, 1: it is fog", LOW),
    "pathology.color_spread": Meaning("how much a point's colour changes with the view", LOW),
    "fidelity.silhouette_iou": Meaning("overlap of the silhouettes of mesh and scene", HIGH),
    "fidelity.psnr": Meaning("unlit colours of the mesh against the scene, in dB", HIGH),
    "cost.seconds": Meaning("training time in seconds", LOW),
    "cost.iterations": Meaning("optimiser steps"),
    "cost.iterations_per_second": Meaning("optimiser steps per second", HIGH),
    "cost.peak_memory_bytes": Meaning("largest memory of the process", LOW),
    "cost.network_calls": Meaning("forward passes of the prior", LOW),
    "cost.network_images": Meaning("noised images in the prior's forward passes", LOW),
    "cost.render_ms": Meaning("rendering, in milliseconds of a step", LOW),
    "cost.guidance_ms": Meaning("the prior, in milliseconds of a step", LOW),
    "cost.backward_ms": Meaning("backward pass, in milliseconds of a step", LOW),
    "cost.other_ms": Meaning("the rest of a step, in milliseconds", LOW),
    "export.silhouette_iou": Meaning("overlap of the silhouettes of the exported mesh and the scene", HIGH),
    "export.albedo_psnr": Meaning("unlit colours of the exported mesh against the scene, in dB", HIGH),
    "export.vertices": Meaning("vertices of the exported mesh"),
    "export.faces": Meaning("faces of the exported mesh"),
    "export.watertight": Meaning("whether the mesh encloses a volume without holes", HIGH),
    "export.dropped_volume": Meaning("share of the volume that was dropped as small parts", LOW),
    "export.seconds": Meaning("time of the export in seconds", LOW),
}
"""By `section.key`; docs/evaluation.md has the definitions."""


def about_score(name: str) -> str:
    """What a number means, and which way is better."""
    return "; ".join(filter(None, (MEANINGS[name].text, MEANINGS[name].better)))


def numbers(result: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Finite numbers of an evaluation by `section.key`; True is 1."""
    values = {f"{section}.{key}": value for section in MEASURED for key, value in result.get(section, {}).items()}
    return {name: float(v) for name, v in values.items() if isinstance(v, bool | int | float) and math.isfinite(v)}


def number(value: float, beside: float | None = None) -> str:
    """Three decimals, fewer for what is large; `beside` is the number whose decimals it shares, if not its own."""
    size = abs(value if beside is None else beside)
    return f"{value:,.{0 if size >= 1000 else 1 if size >= 20 else 3}f}"


def value_text(name: str, value: Any) -> str:
    """A number of a run as people read it: bytes as megabytes, flags as words."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, int | float):
        return str(value)
    if name.endswith("_bytes"):
        return f"{value / 1e6:,.0f} MB"
    return f"{value:,}" if isinstance(value, int) else number(value)


def title(name: str) -> str:
    """`truth.silhouette_iou` as `silhouette IoU`."""
    return (
        name.rpartition(".")[2]
        .replace("_", " ")
        .replace("iou", "IoU")
        .replace("psnr", "PSNR")
        .removesuffix(" ms")
        .removesuffix(" bytes")
    )
