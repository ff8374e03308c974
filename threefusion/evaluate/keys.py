"""Keys of an evaluation by section; docs/evaluation.md defines them. Loads no torch."""

from __future__ import annotations

TEXT_IMAGE_KEYS = (
    "similarity", "r_precision", "rank", "retrieved", "candidates", "textureless_similarity", "textureless_r_precision",
    "textureless_rank", "textureless_retrieved", "textureless_candidates",
)  # fmt: skip
TRUTH_KEYS = (
    "object", "volume_iou", "volume_iou_best_yaw", "chamfer", "chamfer_best_yaw", "chamfer_floor", "f_score", "f_score_best_yaw",
    "best_yaw_deg", "silhouette_iou", "best_class", "geometric_retrieval", "ellipsoid_iou", "skill", "best_wrong_class",
    "best_wrong_class_iou", "convex", "albedo_error", "albedo_error_after_gain", "constant_color_error", "grey_error",
)  # fmt: skip
NO_SHAPE = "the scene is an image, without a shape"
"""The note on the fidelity of 2-D runs, of which no object can have come out."""
JANUS_KEYS = ("janus", "janus_of_truth", "front_probability_in_front", "front_probability_behind")
SHAPE_KEYS = ("components", "floater_area", "floater_volume")
COLOR_KEYS = ("saturation", "clipped")
FIDELITY_KEYS = ("silhouette_iou", "psnr")
COST_KEYS = {
    "seconds": "seconds",
    "iterations": "steps",
    "iterations_per_second": "iterations_per_second",
    "peak_memory_bytes": "peak_memory_bytes",
    "network_calls": "network_calls",
    "network_images": "network_images",
}
"""Key in the evaluation: key in report.json."""
STEP_KEYS = ("render_ms", "guidance_ms", "backward_ms", "other_ms")
"""Milliseconds per step, by phase of `system.phases` and `other`."""

SECTIONS = {
    "text_image": TEXT_IMAGE_KEYS,
    "truth": TRUTH_KEYS,
    "pathology": (*JANUS_KEYS, *SHAPE_KEYS, "dropped_volume", "emptiness", *COLOR_KEYS, "opacity_entropy", "color_spread"),
    "fidelity": FIDELITY_KEYS,
    "cost": (*COST_KEYS, *STEP_KEYS),
}
"""All keys by section."""
