"""Place two exported meshes side by side and take a picture.

python examples/two_objects.py runs/quickstart/a-blue-car-1/mesh/model.glb runs/quickstart/a-red-mushroom-1/mesh/model.glb two.png
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from math import radians
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d, interpolate, normalize

from threefusion.camera.orbit import orbit_views
from threefusion.exporter.preview import load_glb, rasterised_views
from threefusion.types import Cameras, Mesh

SUPERSAMPLING = 3
BACKGROUND = 0.92
AMBIENT = 0.35


def placed(mesh: Mesh, position: tuple[float, float], turn: float) -> Mesh:
    """The mesh scaled to a height of 1, turned by `turn` radians about the vertical, standing on z = 0 at `position`."""
    low, high = mesh.vertices.amin(0), mesh.vertices.amax(0)
    center = torch.stack([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]])
    c, s = torch.tensor(turn).cos(), torch.tensor(turn).sin()
    rotation = torch.tensor([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    vertices = (mesh.vertices - center) / (high[2] - low[2]) @ rotation.T + torch.tensor([*position, 0.0])
    return replace(mesh, vertices=vertices, normals=mesh.normals @ rotation.T)


def joined(left: Mesh, right: Mesh) -> Mesh:
    """Both meshes in one, their textures side by side in one picture."""
    size = left.textures["base_color"].shape[:2]
    other = right.textures["base_color"].permute(2, 0, 1)[None]
    resized = interpolate(other, size=size, mode="bilinear")[0].permute(1, 2, 0)
    half = torch.tensor([0.5, 1.0])
    return Mesh(
        vertices=torch.cat([left.vertices, right.vertices]),
        faces=torch.cat([left.faces, right.faces + len(left.vertices)]),
        normals=torch.cat([left.normals, right.normals]),
        uv=torch.cat([left.uv * half, right.uv * half + torch.tensor([0.5, 0.0])]),
        textures={"base_color": torch.cat([left.textures["base_color"], resized], 1)},
    )


def picture(mesh: Mesh, cameras: Cameras, light: Tensor) -> Tensor:
    """The mesh under a distant light from the direction `light`, smoothed by averaging several pixels into one."""
    views = rasterised_views(mesh, cameras)
    lambert = (views.normal * normalize(light, dim=-1)).sum(-1, keepdim=True).clamp_min(0)
    shaded = views.base_color * (AMBIENT + (1 - AMBIENT) * lambert) + BACKGROUND * (1 - views.mask)
    return avg_pool2d(shaded.permute(0, 3, 1, 2), SUPERSAMPLING).permute(0, 2, 3, 1)[0]


def main(arguments: list[str] | None = None) -> None:
    """Read the command line, write the picture."""
    parser = argparse.ArgumentParser(description="Place two exported meshes side by side and take a picture.")
    parser.add_argument("left", type=Path, help="a GLB file made by this package")
    parser.add_argument("right", type=Path, help="another one")
    parser.add_argument("picture", type=Path, help="PNG file to write")
    parser.add_argument("--size", type=int, default=480, help="height of the picture in pixels")
    options = parser.parse_args(arguments)
    # seen from the front (+x), +y is on the right
    scene = joined(
        placed(load_glb(options.left), (0.0, -0.8), radians(-25)), placed(load_glb(options.right), (0.0, 0.8), radians(25))
    )
    scene = replace(scene, vertices=scene.vertices - torch.tensor([0.0, 0.0, 0.5]))
    height = options.size * SUPERSAMPLING
    cameras = orbit_views(1, radians(20), 4.5, radians(28), height, height * 3 // 2).camera
    image = picture(scene, cameras, torch.tensor([1.0, 0.4, 1.2]))
    Image.fromarray((image.clamp(0, 1) * 255).round().byte().numpy()).save(options.picture)


if __name__ == "__main__":
    main()
