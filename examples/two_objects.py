"""Render two exported meshes side by side.

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


def place_mesh(mesh: Mesh, position: tuple[float, float], yaw: float) -> Mesh:
    """The mesh scaled to height 1, rotated by `yaw` radians about z, standing on z = 0 at `position`."""
    low, high = mesh.vertices.amin(0), mesh.vertices.amax(0)
    center = torch.stack([(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, low[2]])
    c, s = torch.tensor(yaw).cos(), torch.tensor(yaw).sin()
    rotation = torch.tensor([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    vertices = (mesh.vertices - center) / (high[2] - low[2]) @ rotation.T + torch.tensor([*position, 0.0])
    return replace(mesh, vertices=vertices, normals=mesh.normals @ rotation.T)


def merge_meshes(left: Mesh, right: Mesh) -> Mesh:
    """Both meshes as one, with their textures side by side in one image."""
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


def render(mesh: Mesh, cameras: Cameras, light: Tensor) -> Tensor:
    """The mesh under a directional light, with supersampling."""
    views = rasterised_views(mesh, cameras)
    lambert = (views.normal * normalize(light, dim=-1)).sum(-1, keepdim=True).clamp_min(0)
    shaded = views.base_color * (AMBIENT + (1 - AMBIENT) * lambert) + BACKGROUND * (1 - views.mask)
    return avg_pool2d(shaded.permute(0, 3, 1, 2), SUPERSAMPLING).permute(0, 2, 3, 1)[0]


def main(arguments: list[str] | None = None) -> None:
    """Command line entry point."""
    parser = argparse.ArgumentParser(description="Render two exported meshes side by side.")
    parser.add_argument("left", type=Path, help="GLB file exported by this package")
    parser.add_argument("right", type=Path, help="second GLB file")
    parser.add_argument("image", type=Path, help="PNG file to write")
    parser.add_argument("--size", type=int, default=480, help="height of the image in pixels")
    options = parser.parse_args(arguments)
    # seen from +x, +y is on the right
    left = place_mesh(load_glb(options.left), (0.0, -0.8), radians(-25))
    scene = merge_meshes(left, place_mesh(load_glb(options.right), (0.0, 0.8), radians(25)))
    scene = replace(scene, vertices=scene.vertices - torch.tensor([0.0, 0.0, 0.5]))
    height = options.size * SUPERSAMPLING
    cameras = orbit_views(1, radians(20), 4.5, radians(28), height, height * 3 // 2).camera
    image = render(scene, cameras, torch.tensor([1.0, 0.4, 1.2]))
    Image.fromarray((image.clamp(0, 1) * 255).round().byte().numpy()).save(options.image)


if __name__ == "__main__":
    main()
