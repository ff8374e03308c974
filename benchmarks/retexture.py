"""Grey toy objects retextured, against the truth: `python -m benchmarks.retexture --out runs/retexture`.

The true mesh of each prompt's object, without colours and texture coordinates, is written as a GLB and given to
configs/retexture-quickstart.yaml. The exported file is scored like any reconstruction: mean distance of sRGB colours in 24 views.
A run that is finished is not trained again. Writes table.md, and picture.png with the meshes from seven sides.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from threefusion.machine.process import prepare_process

if TYPE_CHECKING:
    from threefusion.types import Mesh

PROMPTS = (
    # looked at while the settings were chosen
    "a red mushroom",
    "a blue car",
    "a snowman with a red scarf",
    # held out
    "a blue rocket",
    "an orange bunny",
    "a yellow chair",
    "a cyan mug",
    "a green duck",
    "a purple teapot",
    "a red bunny on a stack of pancakes",
)
SIZE = 160


def main() -> None:
    """Train what is missing, and write the table and the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--config", default="configs/retexture-quickstart.yaml")
    parser.add_argument("--prompts", type=int, default=len(PROMPTS), metavar="N", help="the first N prompts")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    arguments = parser.parse_intermixed_args()
    prepare_process()
    rows = [measured(prompt, arguments) for prompt in PROMPTS[: arguments.prompts]]
    table = table_of([row for row, _ in rows])
    (arguments.out / "table.md").write_text(table, encoding="utf-8")
    save_picture([mesh for _, mesh in rows], arguments.out / "picture.png")
    print(table)


def measured(prompt: str, arguments: argparse.Namespace) -> tuple[dict[str, float | str], Mesh]:
    """The figures of a prompt, and its mesh."""
    from threefusion.asset.single import read_mesh
    from threefusion.cli.main import run
    from threefusion.exporter.preview import rasterised_views
    from threefusion.geometry.normals import vertex_normals
    from threefusion.toyworld.captions import find_object
    from threefusion.toyworld.score import score, scoring_cameras

    name = prompt.replace(" ", "-")
    grey, folder = grey_file(prompt, arguments.out / f"{name}.glb"), arguments.out / name
    if not (folder / "report.json").is_file():
        words = ["--config", arguments.config, "--mesh", str(grey), "--prompt", prompt, "--out", str(folder)]
        assert run(["train", *words, "output.turntable_frames=0", *arguments.overrides]) == 0
    report = json.loads((folder / "report.json").read_text())
    mesh = read_mesh(folder / "mesh" / grey.name)
    mesh = replace(mesh, normals=vertex_normals(mesh))
    cameras = scoring_cameras()
    views = rasterised_views(mesh, cameras)
    scores = score(views.mask[..., 0], views.base_color, find_object(prompt), cameras)
    figures = {key: scores[key] for key in ("albedo_error", "albedo_error_after_gain", "constant_color_error", "grey_error")}
    return {"prompt": prompt, **figures, "seen_texels": report["seen_texels"], "seconds": report["seconds"]}, mesh


def grey_file(prompt: str, path: Path) -> Path:
    """The true mesh of a prompt's object as a GLB without colours."""
    from threefusion.exporter.writers import write_mesh
    from threefusion.toyworld.captions import find_object
    from threefusion.toyworld.objects import class_mesh, class_normal
    from threefusion.types import Mesh

    if not path.exists():
        vertices, faces = class_mesh(find_object(prompt).name, 64)
        mesh = Mesh(vertices, faces, class_normal(find_object(prompt).name, vertices), colors=0 * vertices + 0.5)
        (made,) = write_mesh(mesh, path.parent, ["glb"])
        made.rename(path)
    return path


def table_of(rows: list[dict[str, float | str]]) -> str:
    """The rows as Markdown, with their means."""
    keys = [key for key in rows[0] if key != "prompt"]
    mean = {"prompt": "mean"} | {key: sum(float(row[key]) for row in rows) / len(rows) for key in keys}
    lines = ["| prompt | " + " | ".join(key.replace("_", " ") for key in keys) + " |", "|---|" + "---|" * len(keys)]
    for row in [*rows, mean]:
        lines.append(
            f"| {row['prompt']} | " + " | ".join(f"{float(row[key]):.{1 if key == 'seconds' else 3}f}" for key in keys) + " |"
        )
    return "\n".join(lines) + "\n"


def save_picture(meshes: list[Mesh], path: Path) -> None:
    """Each mesh in a row, unlit: five sides, from above, from below."""
    import torch
    from PIL import Image

    from threefusion.callback.images import to_bytes
    from threefusion.camera.orbit import cameras_around
    from threefusion.exporter.preview import mesh_images
    from threefusion.types import Lights, ViewBatch

    azimuth, elevation = torch.tensor([0.0, 1.2, 2.4, 3.6, 4.8, 0.5, 0.5]), torch.tensor([0.3, 0.3, 0.3, 0.3, 0.3, 1.3, -0.6])
    rows = []
    for mesh in meshes:
        radius = float(mesh.vertices.norm(dim=-1).max())
        cameras = cameras_around(azimuth, elevation, 3 * radius, 0.68, (SIZE, SIZE))
        cameras = replace(cameras, near=1.5 * radius, far=4.5 * radius)
        white = torch.ones(len(azimuth), 3)
        unlit = ViewBatch(cameras, Lights(cameras.position, 0 * white, white), torch.zeros(7).long(), 0, torch.arange(7))
        rows.append(torch.cat(list(mesh_images(mesh, unlit)), 1))
    Image.fromarray(to_bytes(torch.cat(rows))).save(path)


if __name__ == "__main__":
    main()
