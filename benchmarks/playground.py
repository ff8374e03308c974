"""The pictures of docs/playground.md: what each objective does to pictures of free pixels.

    python -m benchmarks.playground --out docs/images
    python -m benchmarks.playground --only saturation

Trains the configs of `configs/playground`, each run a minute or less on one core. A run that is finished is not repeated, and one
that was interrupted is resumed.
"""

from __future__ import annotations

import argparse
import csv
import os
from collections.abc import Sequence
from dataclasses import dataclass
from math import log10
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image, ImageDraw
from torch import Tensor

from threefusion.callback.images import read_png
from threefusion.cli.main import run
from threefusion.machine.files import numbered, written

CONFIGS = Path(__file__).parents[1] / "configs" / "playground"
SCALE, MARGIN, LABEL = 2, 4, 150
"""Pixels of the sheet per pixel of a picture, between pictures, and of the labels on the left."""


@dataclass(frozen=True)
class Row:
    """One run, and how it is labelled."""

    label: str
    config: str
    overrides: tuple[str, ...] = ()

    def train(self, runs: Path) -> Path:
        """The folder of the finished run."""
        folder = runs / "-".join([self.config, *self.overrides]).replace("guidance.", "").replace("/", "_")
        if not (folder / "images" / "over-time.png").exists():
            start = ["--resume", str(folder)] if folder.exists() else ["--config", str(CONFIGS / f"{self.config}.yaml")]
            if run(["train", *start, *([] if folder.exists() else ["--out", str(folder), *self.overrides])]):
                raise SystemExit(f"{folder}: interrupted")
        return folder


SHEETS = {
    "saturation": [
        Row(f"sds, scale {scale:g}", "sds", (f"guidance.guidance_scale={scale:g}",)) for scale in (1, 4, 7.5, 15, 30, 100)
    ],
    "objectives": [
        Row("sds, scale 7.5", "sds", ("guidance.guidance_scale=7.5",)),
        *(Row(name, name) for name in ("nfsd", "csd", "sjc", "ism", "sdi")),
    ],
    "particles": [
        Row("sds, scale 7.5", "sds", ("guidance.guidance_scale=7.5", "geometry.particles=8", "camera.batch_size=8")),
        Row("vsd, scale 7.5", "vsd"),
    ],
}
STEPS = [Row("sds", "sds", ("guidance.guidance_scale=7.5",)), Row("full gradient", "full-gradient")]
"""The runs that are shown over time."""


def pictures(folder: Path, step: int = -1) -> Float[Tensor, "N H W 3"]:
    """The particles of a run at its `step`-th preview."""
    row = read_png(numbered(folder / "images", "*.png")[step])
    return torch.stack(row.split(len(row), dim=1))


def saturation(images: Float[Tensor, "N H W 3"]) -> float:
    """Mean over all pixels of the saturation of HSV."""
    high, low = images.amax(-1), images.amin(-1)
    return float(((high - low) / high.clamp_min(1e-6)).mean())


def diversity(images: Float[Tensor, "N H W 3"]) -> float:
    """Standard deviation over the particles, root mean square over pixels."""
    return float(images.var(0).mean().sqrt())


def labelled(rows: Sequence[tuple[str, Float[Tensor, "N H W 3"]]]) -> Image.Image:
    """A row of pictures for each label."""
    cells = [MARGIN + SCALE * size for size in rows[0][1].shape[1:3]]
    sheet = Image.new(
        "RGB", (LABEL + cells[1] * max(len(images) for _, images in rows) + MARGIN, cells[0] * len(rows) + MARGIN), "white"
    )
    draw = ImageDraw.Draw(sheet)
    for index, (label, images) in enumerate(rows):
        top = MARGIN + index * cells[0]
        draw.multiline_text((MARGIN, top + 8), label, fill="black", font_size=13)
        for column, image in enumerate(images):
            picture = Image.fromarray((255 * image.numpy()).round().astype(np.uint8))
            sheet.paste(picture.resize((picture.width * SCALE, picture.height * SCALE)), (LABEL + column * cells[1], top))
    return sheet


def measured(row: Row, runs: Path) -> tuple[str, Float[Tensor, "N H W 3"]]:
    """The label with numbers, and the pictures, at the end of a run."""
    images = pictures(row.train(runs))
    numbers = f"saturation {saturation(images):.2f}\ndiversity {diversity(images):.2f}"
    print(f"{row.label}: {numbers.replace(chr(10), ', ')}", flush=True)
    return f"{row.label}\n{numbers}", images


def over_time(runs: Path) -> Image.Image:
    """The first particle of each run from its first preview to its last, above the norm of its gradients."""
    folders = {row.label: row.train(runs) for row in STEPS}
    rows = [(name, torch.stack([pictures(folder, step)[0] for step in range(count(folder))])) for name, folder in folders.items()]
    above = labelled(rows)
    curves = {}
    for name, folder in folders.items():
        with (folder / "metrics.csv").open() as file:
            curves[name] = [(int(line["step"]), float(line["grad_norm"])) for line in csv.DictReader(file)]
    below = chart("norm of the gradient", curves, above.width, 150)
    sheet = Image.new("RGB", (above.width, above.height + below.height), "white")
    sheet.paste(above, (0, 0))
    sheet.paste(below, (0, above.height))
    return sheet


def count(folder: Path) -> int:
    """Number of previews of a run."""
    return len(numbered(folder / "images", "*.png"))


def chart(title: str, curves: dict[str, list[tuple[int, float]]], width: int, height: int) -> Image.Image:
    """Curves over the step, on a logarithmic axis."""
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    values = [log10(value) for curve in curves.values() for _, value in curve]
    low, high, last = min(values), max(values), max(step for curve in curves.values() for step, _ in curve)
    left, right, top, bottom = LABEL, width - 2 * MARGIN, 10, height - 20
    draw.rectangle((left, top, right, bottom), outline="gray")
    draw.multiline_text((MARGIN, top), title, fill="black", font_size=13)
    for power in range(-6, 9):
        if low <= power <= high:
            y = bottom - (power - low) / (high - low) * (bottom - top)
            draw.line((left, y, right, y), fill="lightgray")
            draw.text((left - 40, y - 7), f"{10.0**power:g}", fill="gray", font_size=11)
    for index, (name, curve) in enumerate(curves.items()):
        color = ("royalblue", "crimson", "green")[index]
        points = [
            (left + step / last * (right - left), bottom - (log10(value) - low) / (high - low) * (bottom - top))
            for step, value in curve
        ]
        draw.line(points, fill=color, width=1)
        draw.text((MARGIN, top + 20 + 16 * index), name, fill=color, font_size=13)
    draw.text((right - 60, bottom + 3), f"step {last + 1}", fill="gray", font_size=11)
    return image


def main() -> None:
    """Train what is missing, and write the sheets."""
    names = [*SHEETS, "full-gradient"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/images"))
    parser.add_argument("--runs", type=Path, default=Path("runs/playground"))
    parser.add_argument("--only", choices=names, nargs="+", default=names)
    arguments = parser.parse_args()
    os.nice(10)
    for name in arguments.only:
        sheet = (
            over_time(arguments.runs)
            if name == "full-gradient"
            else labelled([measured(row, arguments.runs) for row in SHEETS[name]])
        )
        path = arguments.out / f"playground-{name}.png"
        with written(path) as temporary:
            sheet.quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).save(
                temporary, format="png", optimize=True
            )
        print(path, flush=True)


if __name__ == "__main__":
    main()
