"""Evaluations as something to read: one run in full, several as a table, seeds of one run together."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from statistics import mean, stdev
from typing import Any

Result = Mapping[str, Mapping[str, Any]]

MEASURED = ("text_image", "truth", "pathology", "fidelity", "cost")
"""Sections that hold numbers."""
HEADLINES = {
    "truth.geometric_retrieval": "shape found",
    "truth.silhouette_iou": "silhouette IoU",
    "truth.skill": "skill",
    "truth.volume_iou": "volume IoU",
    "truth.f_score": "F-score",
    "truth.albedo_error": "albedo error",
    "text_image.r_precision": "R-precision",
    "text_image.textureless_r_precision": "textureless",
    "pathology.janus": "Janus",
    "pathology.emptiness": "empty",
    "fidelity.psnr": "PSNR",
    "cost.seconds": "seconds",
}
"""Columns of the table of several runs."""


def numbers(result: Result) -> dict[str, float]:
    """The finite numbers of an evaluation by `section.key`; true counts as 1."""
    found = {f"{section}.{key}": value for section in MEASURED for key, value in result[section].items()}
    return {name: float(v) for name, v in found.items() if isinstance(v, bool | int | float) and math.isfinite(v)}


def summaries(results: Iterable[tuple[str, Result]]) -> list[dict[str, Any]]:
    """Mean, standard deviation and count of every number over runs that differ in their seed alone.

    `results` are pairs of what the runs have in common and an evaluation; only what at least two different seeds share is
    summarised. The standard deviation is the sample's (n - 1); `n` is the number of runs that have the number at all.
    """
    groups: dict[str, list[Result]] = {}
    for common, result in results:
        groups.setdefault(common, []).append(result)
    return [_summary(group) for group in groups.values() if len({result["run"]["seed"] for result in group}) > 1]


def _summary(group: list[Result]) -> dict[str, Any]:
    """One group's."""
    about = group[0]["run"]
    found = [numbers(result) for result in group]
    values = {name: [each[name] for each in found if name in each] for name in dict.fromkeys(n for each in found for n in each)}
    return {
        "config": about["config"],
        "prompt": about["prompt"],
        "seeds": [result["run"]["seed"] for result in group],
        "values": {name: {"mean": mean(v), "std": stdev(v) if len(v) > 1 else None, "n": len(v)} for name, v in values.items()},
    }


def as_page(results: list[Result], together: list[dict[str, Any]]) -> str:
    """One run in full, or a row for each of several; then what their seeds have in common."""
    parts = [full(results[0])] if len(results) == 1 else [table(results)]
    parts += [spread(summary) for summary in together]
    notes = dict.fromkeys(f"{section}: {note}" for result in results for section, note in result["notes"].items())
    return "\n\n".join([*parts, *(["\n".join(notes)] if notes else [])])


def full(result: Result) -> str:
    """Every value of one run, section by section."""
    about = result["run"]
    lines = [f"{about['folder']}: {about['prompt']!r}, config {about['config']}, seed {about['seed']}, {about['views']} views"]
    for section in MEASURED:
        lines += ["", section]
        lines += [f"  {key:<27} {shown(value)}" for key, value in result[section].items()]
    return "\n".join(lines)


def table(results: list[Result]) -> str:
    """The headlines of several runs."""
    rows = [["run", *HEADLINES.values()]]
    for result in results:
        cells = [result[section][key] for section, key in (name.split(".") for name in HEADLINES)]
        rows.append([result["run"]["folder"], *(shown(cell) for cell in cells)])
    return aligned(rows)


def spread(summary: Mapping[str, Any]) -> str:
    """Mean and standard deviation of every number of a summary."""
    seeds = ", ".join(str(seed) for seed in summary["seeds"])
    rows = [["mean", "std", "n", ""]]
    for name, value in summary["values"].items():
        rows.append([shown(value["mean"]), shown(value["std"]), str(value["n"]), name])
    return f"{summary['prompt']!r}, config {summary['config']}, seeds {seeds}\n{aligned(rows)}"


def aligned(rows: list[list[str]]) -> str:
    """Columns of equal width; the first one and the last one begin on the left."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def shown(value: Any) -> str:
    """A value in few characters."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}" if abs(value) >= 1 else f"{value:.3f}"
    return str(value)
