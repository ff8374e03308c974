"""The least work of every row of `perf`, and the row's time against its floor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import cache
from typing import Any

import torch
from torch import Tensor

from benchmarks.floors.architecture import DTYPE, TOKENS
from benchmarks.floors.architectures import ARCHITECTURES
from benchmarks.floors.networks import encoder_flops, unet_flops
from benchmarks.floors.probes import PROBE, rates
from benchmarks.floors.work import (
    FIELD,
    Work,
    composite_work,
    encode_work,
    march_work,
    mlp_work,
    pull_work,
    rasterize_work,
    step_work,
)
from threefusion.camera.projection import clip_coordinates
from threefusion.guidance.prior.settings import PixelConfig
from threefusion.perf.guidance import CONDITIONS
from threefusion.perf.rendering import CHANNELS, ball_mesh
from threefusion.perf.report import RATIOS, Report, described, ratio, rounded, table
from threefusion.perf.scene import fixed_scene, fixed_views, march_steps
from threefusion.perf.step import NORMALS
from threefusion.registry import build

CPU = torch.device("cpu")
Row = dict[str, Any]


def with_floors(report: Report, architecture: str | None = None) -> tuple[list[Row], list[Row]]:
    """(rows with `floor_ms` and `ratio_to_floor`, rates by subject and threads) of a report that holds the rows of probes."""
    rows, found = [], []
    for about in dict.fromkeys((row["subject"], row["threads"]) for row in report.rows):
        together = [row for row in report.rows if (row["subject"], row["threads"]) == about]
        measured = rates(row for row in together if row["case"] == PROBE)
        found.append({"subject": about[0], "threads": about[1]} | asdict(measured))
        for row in together:
            if row["case"] != PROBE:
                floor = work_of(row, architecture).floor_ms(measured)
                rows.append(row | {"floor_ms": floor, "ratio_to_floor": ratio(row["ms"], floor)})
    return rows, found


def work_of(row: Row, architecture: str | None = None) -> Work:
    """The least work of one row; `architecture` names the full-size model of guidance rows."""
    if row["subject"] == "guidance":
        return _bundled_guidance(row) if architecture is None else _full_size_guidance(row, architecture)
    return WORK[row["subject"]](row)


def _encode(row: Row) -> Work:
    if row["case"] == "pull":
        return pull_work(FIELD, row["points"])
    return encode_work(FIELD, row["points"], backward=row["case"] == "forward+backward")


def _mlp(row: Row) -> Work:
    dtype = "bfloat16" if row["name"] == "torch-bfloat16" else "float32"
    return mlp_work(FIELD.widths, row["points"], dtype, backward=row["case"] == "forward+backward")


def _rasterize(row: Row) -> Work:
    vertices, faces = ball_mesh(CPU)
    size = row["resolution"]
    clip = clip_coordinates(vertices, fixed_views(1, size, CPU).camera)[0]
    return rasterize_work(len(faces), covered_pixels(clip, faces, size), size**2)


def _step(row: Row) -> Work:
    parameters = sum(parameter.numel() for parameter in fixed_scene(CPU)[0].parameters())
    steps = march_steps(fixed_views(row["batch"], row["resolution"], CPU))
    return step_work(FIELD, row["points"], steps, parameters, row["case"] == NORMALS)


WORK: dict[str, Callable[[Row], Work]] = {
    "encode": _encode,
    "march": lambda row: march_work(row["points"], row["samples"]),
    "composite": lambda row: composite_work(row["points"], CHANNELS),
    "rasterize": _rasterize,
    "mlp": _mlp,
    "step": _step,
}


@cache
def _bundled_flops() -> tuple[int, str]:
    prior = build(PixelConfig(model="toyworld-pixel"))
    tokens = prior.text_encoder().encode([""]).tokens
    return unet_flops(prior.settings("unet"), CONDITIONS, tuple(tokens.shape[1:])), str(prior.dtype).removeprefix("torch.")


def _bundled_guidance(row: Row) -> Work:
    flops, dtype = _bundled_flops()
    return Work(flops * row["batch"], dtype)


def _full_size_guidance(row: Row, architecture: str) -> Work:
    shape = ARCHITECTURES[architecture]
    network = unet_flops(shape.unet, CONDITIONS * row["batch"], (TOKENS, shape.token_width))
    encoder = 0 if shape.vae is None else encoder_flops(shape.vae, row["batch"], row["resolution"])
    return Work({"network": network, "encode+backward": encoder}.get(row["case"], network + encoder), DTYPE)


def covered_pixels(clip: Tensor, faces: Tensor, resolution: int) -> int:
    """Pixels under each face, summed over the faces: the comparisons made if nothing is culled."""
    screen = (clip[:, :2] / clip[:, 3:] + 1) * (resolution / 2)
    a, b, c = screen[faces].unbind(1)
    ab, ac = b - a, c - a
    return round(float((ab[:, 0] * ac[:, 1] - ab[:, 1] * ac[:, 0]).abs().sum()) / 2)


def as_data(report: Report, rows: list[Row], measured: list[Row]) -> Row:
    """For programs; numbers rounded to five digits."""
    return {"hardware": report.hardware, "rates": rounded(measured), "rows": rounded(rows)}


def as_markdown(report: Report, rows: list[Row], measured: list[Row]) -> str:
    """Per subject the measured rates and a table."""
    ratios = {"ratio_to_torch": RATIOS["ratio_to_torch"], "ratio_to_floor": "/ floor"} | RATIOS
    sections = [described(report.hardware)]
    for subject in dict.fromkeys(row["subject"] for row in rows):
        lines = "\n".join(rate_line(one) for one in measured if one["subject"] == subject)
        sections += [f"## {subject}", lines, table([row for row in rows if row["subject"] == subject], ratios)]
    return "\n\n".join(sections)


def rate_line(measured: Row) -> str:
    """The rates of one subject and number of threads."""
    products = ", ".join(f"{dtype} {rate / 1e9:.0f} GFLOP/s" for dtype, rate in measured["gemm"].items())
    gather, update, copy = (measured[name] / 1e9 for name in ("gather", "update", "copy"))
    threads = "1 thread" if measured["threads"] == 1 else f"{measured['threads']} threads"
    return f"- {threads}: {products}, gathers {gather:.2f} G/s, updates {update:.2f} G/s, copy {copy:.1f} GB/s"
