"""The script that places two exported meshes in one scene."""

import runpy
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from test_topology import CUBE, ball
from test_uv import with_normals

from threefusion.exporter.uv import unwrap
from threefusion.exporter.writers import write_mesh

SCRIPT = Path(__file__).parents[2] / "examples" / "two_objects.py"


def exported(mesh, color, folder):
    mesh = replace(unwrap(with_normals(mesh), 64), textures={"base_color": torch.tensor(color).expand(64, 64, 3)})
    return str(write_mesh(mesh, folder, ["glb"])[0])


def test_both_objects_are_in_the_picture_each_on_its_side(tmp_path):
    red = exported(ball(24), [1.0, 0.0, 0.0], tmp_path / "red")
    green = exported(replace(CUBE, vertices=CUBE.vertices * 3 + 7), [0.0, 1.0, 0.0], tmp_path / "green")
    runpy.run_path(str(SCRIPT))["main"]([red, green, str(tmp_path / "scene.png"), "--size", "60"])
    image = np.asarray(Image.open(tmp_path / "scene.png")).astype(int)
    assert image.shape == (60, 90, 3)
    redness, greenness = image[..., 0] - image[..., 1] > 40, image[..., 1] - image[..., 0] > 40
    for shown, half in ((redness, slice(0, 45)), (greenness, slice(45, 90))):
        assert shown.sum() > 200
        assert shown[:, half].sum() == shown.sum()
