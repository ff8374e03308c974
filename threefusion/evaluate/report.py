"""Text reports: one run in full, several as a table, seeds of one run summarised."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import mean, stdev
from typing import Any

from threefusion.evaluate.keys import NO_SHAPE
from threefusion.page.scores import MEASURED, numbers

Result = Mapping[str, Mapping[str, Any]]

HEADLINES = {
    "truth.geometric_retrieval": "retrieved",
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
"""Columns of the table of runs."""


def summaries(results: Iterable[tuple[str, Result]]) -> list[dict[str, Any]]:
    """Mean, sample standard deviation (n - 1) and count of every number over runs that differ only in their seed.

    `results` are pairs of (group key, evaluation). Groups with a single seed are left out; `n` counts the runs that have the
    number.
    """
    groups: dict[str, list[Result]] = {}
    for key, result in results:
        groups.setdefault(key, []).append(result)
    return [_summary(group) for group in groups.values() if len({result["run"]["seed"] for result in group}) > 1]


def _summary(group: list[Result]) -> dict[str, Any]:
    """Summary of one group."""
    about = group[0]["run"]
    runs = [numbers(result) for result in group]
    values = {name: [run[name] for run in runs if name in run] for name in dict.fromkeys(name for run in runs for name in run)}
    return {
        "config": about["config"],
        "prompt": about["prompt"],
        "seeds": [result["run"]["seed"] for result in group],
        "values": {name: {"mean": mean(v), "std": stdev(v) if len(v) > 1 else None, "n": len(v)} for name, v in values.items()},
    }


def format_report(results: list[Result], grouped: list[dict[str, Any]]) -> str:
    """One run in full or a table of several, then summaries over seeds, notes, and runs of which another class came out."""
    from threefusion.toyworld.score import mismatch

    parts = [format_run(results[0])] if len(results) == 1 else [format_table(results)]
    parts += [format_summary(summary) for summary in grouped]
    notes = dict.fromkeys(f"{section}: {note}" for result in results for section, note in result["notes"].items())
    solid = [result for result in results if result["notes"].get("fidelity") != NO_SHAPE]
    wrong = [f"{result['run']['folder']}: {problem}" for result in solid if (problem := mismatch(result["truth"]))]
    return "\n\n".join([*parts, *("\n".join(lines) for lines in (notes, wrong) if lines)])


def format_run(result: Result) -> str:
    """Every value of one run, section by section."""
    about = result["run"]
    lines = [f"{about['folder']}: {about['prompt']!r}, config {about['config']}, seed {about['seed']}, {about['views']} views"]
    for section in MEASURED:
        lines += ["", section]
        lines += [f"  {key:<27} {format_value(value)}" for key, value in result[section].items()]
    return "\n".join(lines)


def format_table(results: list[Result]) -> str:
    """Headline numbers, one row per run."""
    rows = [["run", *HEADLINES.values()]]
    for result in results:
        cells = [result[section][key] for section, key in (name.split(".") for name in HEADLINES)]
        rows.append([result["run"]["folder"], *(format_value(cell) for cell in cells)])
    return format_columns(rows)


def format_summary(summary: Mapping[str, Any]) -> str:
    """Mean and standard deviation of every number of a summary."""
    seeds = ", ".join(str(seed) for seed in summary["seeds"])
    rows = [["mean", "std", "n", ""]]
    for name, value in summary["values"].items():
        rows.append([format_value(value["mean"]), format_value(value["std"]), str(value["n"]), name])
    return f"{summary['prompt']!r}, config {summary['config']}, seeds {seeds}\n{format_columns(rows)}"


def format_columns(rows: list[list[str]]) -> str:
    """Left-aligned columns."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)


def format_value(value: Any) -> str:
    """Short form of a value."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}" if abs(value) >= 1 else f"{value:.3f}"
    return str(value)
