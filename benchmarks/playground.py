"""The pictures of docs/playground.md: what each objective does to pictures of free pixels.

    python -m benchmarks.playground --out docs/images
    python -m benchmarks.playground --only saturation

Trains the configs of `configs/playground`, each run a minute or less on one core. A run that is finished is not repeated, and one
that was interrupted is resumed.
"""

from __future__ import annotations

import argparse
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
from threefusion.config import load_config
from threefusion.machine.files import numbered, written
from threefusion.system.build import build_system
from threefusion.testing.samples import image_render

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
TIMES = (2, 5, 10, 15, 20, 30, 40, 50, 60, 70, 80, 90, 98)
"""Noise levels at which gradients are measured, in percent."""


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
    """The first particle of each run from its first preview to its last, above the norm of gradients by noise level."""
    folders = {row.label: row.train(runs) for row in STEPS}
    rows = [(name, torch.stack([pictures(folder, step)[0] for step in range(count(folder))])) for name, folder in folders.items()]
    above = labelled(rows)
    seen = pictures(folders[STEPS[0].label])
    curves = {row.label: [(t, gradient_norm(row, t / 100, seen)) for t in TIMES] for row in STEPS}
    for name, curve in curves.items():
        print(f"{name}: {', '.join(f'{value:.3g} at t = {t / 100}' for t, value in curve)}", flush=True)
    below = chart("norm of the\ngradient by t", curves, above.width, 150)
    sheet = Image.new("RGB", (above.width, above.height + below.height), "white")
    sheet.paste(above, (0, 0))
    sheet.paste(below, (0, above.height))
    return sheet


def gradient_norm(row: Row, t: float, images: Float[Tensor, "N H W 3"]) -> float:
    """Norm of the gradient that an objective has at given pictures and one noise level, a mean over pictures."""
    fixed = [f"guidance.t_min={t}", f"guidance.t_max={t}"]
    system = build_system(load_config(CONFIGS / f"{row.config}.yaml", [*row.overrides, *fixed]))
    (guidance,) = system.guidance.values()
    views = system.camera.sample(0, 0, torch.arange(len(images)))
    images = images.clone().requires_grad_()
    loss = guidance(image_render(images), system.prompt(views.camera), views).loss
    (gradient,) = torch.autograd.grad(loss, images)
    return float(gradient.flatten(1).norm(dim=1).mean()) * len(images)


def count(folder: Path) -> int:
    """Number of previews of a run."""
    return len(numbered(folder / "images", "*.png"))


def chart(title: str, curves: dict[str, list[tuple[int, float]]], width: int, height: int) -> Image.Image:
    """Curves over percentages, on a logarithmic axis."""
    image = Image.new("RGB", (width, height), "white")
    draw = ImageDraw.Draw(image)
    values = [log10(value) for curve in curves.values() for _, value in curve]
    low, high = min(values) - 0.1, max(values) + 0.1
    left, right, top, bottom = LABEL, width - 3 * MARGIN, 10, height - 20

    def at(percent: int | float, logarithm: int | float) -> tuple[float, float]:
        return left + percent / 100 * (right - left), bottom - (logarithm - low) / (high - low) * (bottom - top)

    draw.rectangle((left, top, right, bottom), outline="gray")
    draw.multiline_text((MARGIN, top), title, fill="black", font_size=13)
    for power in range(-6, 9):
        if low <= power <= high:
            draw.line((at(0, power), at(100, power)), fill="lightgray")
            draw.text((left - 45, at(0, power)[1] - 7), f"{10.0**power:g}", fill="gray", font_size=11)
    for index, (name, curve) in enumerate(curves.items()):
        color = ("royalblue", "crimson")[index]
        draw.line([at(percent, log10(value)) for percent, value in curve], fill=color, width=2)
        draw.text((MARGIN, top + 40 + 16 * index), name, fill=color, font_size=13)
    for percent in (0, 50, 100):
        draw.text((at(percent, low)[0] - 8, bottom + 3), f"{percent / 100:g}", fill="gray", font_size=11)
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
