"""Exports of finished runs against their scenes: colour bias, PSNR, silhouettes, faces, file size and time.

    python -m benchmarks.export_quality RUN... [--exporter max_faces=2000,color_views=0 ...]
    python -m benchmarks.export_quality --fitted "a blue car" "a red mushroom"

A row per run and setting; `--fitted` adds the quickstart's scene, fitted to 64 true images of each toy object without a prior.
Bias is the largest of the three channels' mean differences, and PSNR is in dB, both of unlit colours where mesh and scene show
the object; IoU is that of the silhouettes. They are taken in 24 views of 128 x 128 pixels which neither the level nor the colours
were chosen by. Seconds are processor time of one thread, after an export that compiles the kernels.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch
import yaml
from torch import Tensor
from torch.nn.functional import avg_pool2d

from threefusion.camera.orbit import views_around
from threefusion.config import load_config
from threefusion.exporter.color_fit import ELEVATIONS
from threefusion.exporter.fidelity import FieldViews, compare, field_views, without_background
from threefusion.exporter.mesh import MeshExporter
from threefusion.exporter.preview import load_glb, rasterised_views
from threefusion.exporter.settings import MeshExporterConfig
from threefusion.renderer.renderer import Renderer
from threefusion.run.results import load_scene
from threefusion.system.scene import build_scene
from threefusion.toyworld.score import find_object, truth_views
from threefusion.types import Cameras, Mesh, Scene, Want, view_generator

SETTINGS = (
    "",
    "color_views=0",
    "color_views=0,color_samples=16",
    "max_faces=50000",
    "max_faces=2000",
    "max_faces=500",
    "texture=vertex",
)
"""What is compared with the defaults, which are the first row."""
VIEWS, SIZE = 24, 128
CONFIG = Path(__file__).parents[1] / "configs" / "quickstart.yaml"
IMAGES, IMAGE_SIZE, STEPS, BATCH = 64, 64, 400, 4
"""Of the fitted scenes."""
COLUMNS = ("run", "settings", "bias", "PSNR", "IoU", "faces", "closed", "kB", "s")


def parsed(text: str) -> MeshExporterConfig:
    """The settings of `name=value,...` on top of the defaults."""
    pairs = (pair.split("=", 1) for pair in text.split(",") if pair)
    return MeshExporterConfig(**{name: yaml.safe_load(value) for name, value in pairs})


def color_bias(mesh: Mesh, field: FieldViews) -> float:
    """The largest absolute mean difference of a channel."""
    seen = rasterised_views(mesh, field.batch.camera)
    both = ((seen.mask > 0) & field.mask)[..., 0]
    return float((seen.base_color - field.albedo)[both].mean(0).abs().max())


def measure(scene: Scene, renderer: Renderer, field: FieldViews, cfg: MeshExporterConfig) -> list[str]:
    """The cells of a row from `bias` on, of the file that was written."""
    with tempfile.TemporaryDirectory() as folder:
        started = time.process_time()
        exported = MeshExporter(cfg).export(scene, renderer, Path(folder))
        seconds = time.process_time() - started
        path = exported.paths[0]
        mesh, size = load_glb(path), path.stat().st_size
    scores, facts = compare(mesh, field), exported.report
    closed = "yes" if facts["watertight"] else "no"
    quality = [f"{color_bias(mesh, field):.3f}", f"{scores['albedo_psnr']:.2f}", f"{scores['silhouette_iou']:.3f}"]
    return [*quality, f"{facts['faces']:,}", closed, f"{size / 1000:,.0f}", f"{seconds:.1f}"]


def true_images(prompt: str, cameras: Cameras) -> tuple[Tensor, Tensor]:
    """Unlit images of a toy object before black [B H W 3] and its coverage [B H W 1], of 2 x 2 samples per pixel."""
    fine = replace(cameras, height=2 * cameras.height, width=2 * cameras.width)
    mask, albedo = truth_views(find_object(prompt), fine)
    pooled = avg_pool2d(torch.cat([albedo, mask[..., None]], -1).permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1)
    return pooled[..., :3], pooled[..., 3:]


def fitted(prompt: str) -> tuple[Scene, Renderer]:
    """The quickstart's scene, fitted to true images of a toy object by the squared error of colour and opacity."""
    config = load_config(CONFIG, [])
    scene, renderer = build_scene(config)
    bare = without_background(scene, scene.heading)
    views = views_around(scene.geometry.radius, IMAGES, IMAGE_SIZE, elevations=ELEVATIONS)
    images, coverage = true_images(prompt, views.camera)
    optimizer = torch.optim.Adam(scene.geometry.parameters(), lr=config.optimizer.lr)
    for step in range(STEPS):
        generator = view_generator(config.seed, step, 0, "fit")
        renderer.update(bare, step, generator)
        chosen = torch.randperm(IMAGES, generator=generator)[:BATCH]
        render = renderer(bare, replace(views.select(chosen), step=step), Want(random=True))
        loss = (render.image - images[chosen]).square().mean() + (render.opacity - coverage[chosen]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return bare, renderer


def scenes(arguments: argparse.Namespace) -> Iterator[tuple[str, Scene, Renderer]]:
    """The scenes of the runs, then the fitted ones, with names."""
    for run in arguments.runs:
        config, scene, renderer, _ = load_scene(run)
        yield config.text, scene, renderer
    for prompt in arguments.fitted:
        yield f"{prompt}, fitted", *fitted(prompt)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=Path, metavar="RUN")
    parser.add_argument("--fitted", nargs="+", default=[], metavar="PROMPT", help="toy objects such as `a blue car`")
    parser.add_argument("--exporter", nargs="+", default=SETTINGS, metavar="SETTINGS", help="name=value,... per row")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
    for name, scene, renderer in scenes(arguments):
        field = field_views(renderer, scene, views_around(scene.geometry.radius, VIEWS, SIZE, 0.5))
        measure(scene, renderer, field, parsed("max_faces=2000"))
        for settings in arguments.exporter:
            cells = [name, f"`{settings}`" if settings else "defaults", *measure(scene, renderer, field, parsed(settings))]
            print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
