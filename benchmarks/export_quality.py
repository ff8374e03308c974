"""Exports of finished runs against their scenes: colour bias, PSNR, silhouettes, faces, file size and time.

    python -m benchmarks.export_quality RUN... [--exporter max_faces=2000,color_views=0 ...]

A row per run and setting. Bias is the largest of the three channels' mean differences, and PSNR is in dB, both of unlit colours
where mesh and scene show the object; IoU is that of the silhouettes. They are taken in 24 views of 128 x 128 pixels which neither
the level nor the colours were chosen by. Seconds are processor time of one thread, after an export that compiles the kernels.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import torch
import yaml

from threefusion.camera.orbit import views_around
from threefusion.exporter.fidelity import FieldViews, compare, field_views
from threefusion.exporter.mesh import MeshExporter
from threefusion.exporter.preview import load_glb, rasterised_views
from threefusion.exporter.settings import MeshExporterConfig
from threefusion.renderer.renderer import Renderer
from threefusion.run.results import load_scene
from threefusion.types import Mesh, Scene

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


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--exporter", nargs="+", default=SETTINGS, metavar="SETTINGS", help="name=value,... per row")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
    for run in arguments.runs:
        config, scene, renderer, _ = load_scene(run)
        field = field_views(renderer, scene, views_around(scene.geometry.radius, VIEWS, SIZE, 0.5))
        measure(scene, renderer, field, parsed("max_faces=2000"))
        for settings in arguments.exporter:
            cells = [config.text, f"`{settings}`" if settings else "defaults", *measure(scene, renderer, field, parsed(settings))]
            print("| " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
