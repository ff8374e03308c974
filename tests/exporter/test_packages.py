"""USDZ in its own validators, 3MF and STL in a slicer."""

from __future__ import annotations

import shutil
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from test_topology import CUBE
from test_uv import with_normals

from threefusion.exporter.model import About, FileOptions
from threefusion.exporter.uv import unwrap
from threefusion.exporter.writers import write_mesh
from threefusion.types import Mesh

PICTURE = torch.rand(8, 8, 3, generator=torch.Generator().manual_seed(0)).mul(255).round() / 255
TEXTURES = ("base_color", "metallic_roughness", "normal")


def mesh(textures: tuple[str, ...]) -> Mesh:
    """A cube with these textures, or with vertex colours."""
    cube = unwrap(with_normals(CUBE), 8) if textures else with_normals(CUBE)
    return replace(cube, colors=cube.vertices, textures={name: PICTURE for name in textures} or None)


def write_usdz(folder: Path, textures: tuple[str, ...]) -> Path:
    pytest.importorskip("pxr")
    return write_mesh(mesh(textures), folder, ["usdz"], FileOptions(about=About("a cube", 1, ("model: licence",))))[0]


def complaints(stage) -> set[str]:
    """Names of what any of the validators finds."""
    from pxr import UsdValidation

    validators = UsdValidation.ValidationRegistry().GetOrLoadAllValidators()
    return {str(error.GetName()) for error in UsdValidation.ValidationContext(validators).Validate(stage)}


@pytest.mark.parametrize("textures", [(), TEXTURES[:1], TEXTURES])
def test_no_validator_complains_about_a_usdz(textures, tmp_path):
    path = write_usdz(tmp_path, textures)
    from pxr import Usd, UsdGeom

    stage = Usd.Stage.Open(str(path))
    assert complaints(stage) == set()
    surface = UsdGeom.Mesh(stage.GetPrimAtPath("/Model/Surface"))
    assert stage.GetDefaultPrim().GetPath() == "/Model"
    assert surface.GetSubdivisionSchemeAttr().Get() == "none"
    assert surface.GetNormalsInterpolation() == "vertex"


def test_the_validators_see_mistakes(tmp_path):
    path = write_usdz(tmp_path, TEXTURES)
    from pxr import Usd, UsdShade

    stage = Usd.Stage.Open(str(path))
    stage.SetEditTarget(stage.GetSessionLayer())
    stage.GetPrimAtPath("/Model/Surface").RemoveAPI(UsdShade.MaterialBindingAPI)
    UsdShade.Shader(stage.GetPrimAtPath("/Model/Material/normal")).GetInput("sourceColorSpace").Set("sRGB")
    assert {"MissingMaterialBindingAPI", "InvalidSourceColorSpace"} <= complaints(stage)


def test_a_usdz_has_every_texture_where_preview_surfaces_read_it(tmp_path):
    path = write_usdz(tmp_path, TEXTURES)
    from PIL import Image
    from pxr import Usd, UsdShade

    stage = Usd.Stage.Open(str(path))
    material, _ = UsdShade.MaterialBindingAPI(stage.GetPrimAtPath("/Model/Surface")).ComputeBoundMaterial()
    shader = material.ComputeSurfaceSource()[0]
    read = {}
    for field in ("diffuseColor", "roughness", "metallic", "normal"):
        source, channel, _ = shader.GetInput(field).GetConnectedSource()
        texture = UsdShade.Shader(source.GetPrim())
        read[field] = (texture.GetInput("file").Get().path, channel, texture.GetInput("sourceColorSpace").Get())
    assert read == {
        "diffuseColor": ("textures/base_color.png", "rgb", "sRGB"),
        "roughness": ("textures/metallic_roughness.png", "g", "raw"),
        "metallic": ("textures/metallic_roughness.png", "b", "raw"),
        "normal": ("textures/normal.png", "rgb", "raw"),
    }

    with zipfile.ZipFile(path) as package, package.open("textures/normal.png") as file:
        assert torch.equal(torch.tensor(list(Image.open(file).get_flattened_data())) / 255, PICTURE.reshape(-1, 3))


def test_vertex_colors_of_a_usdz_are_linear_and_shown_by_its_material(tmp_path):
    path = write_usdz(tmp_path, ())
    from pxr import Usd, UsdGeom, UsdShade

    stage = Usd.Stage.Open(str(path))
    surface = stage.GetPrimAtPath("/Model/Surface")
    shown = torch.tensor([list(color) for color in UsdGeom.PrimvarsAPI(surface).GetPrimvar("displayColor").Get()])
    assert torch.equal(shown, CUBE.vertices)  # 0 and 1 are the same in linear light
    shader = UsdShade.MaterialBindingAPI(surface).ComputeBoundMaterial()[0].ComputeSurfaceSource()[0]
    reader = UsdShade.Shader(shader.GetInput("diffuseColor").GetConnectedSource()[0].GetPrim())
    assert (reader.GetIdAttr().Get(), reader.GetInput("varname").Get()) == ("UsdPrimvarReader_float3", "displayColor")


@pytest.mark.skipif(shutil.which("prusa-slicer") is None, reason="needs prusa-slicer")
@pytest.mark.parametrize("name", ["stl", "3mf"])
def test_a_slicer_makes_g_code(name, tmp_path):
    pytest.importorskip("lib3mf")
    (path,) = write_mesh(mesh(()), tmp_path, [name], FileOptions(height=0.02))
    code = tmp_path / "model.gcode"
    done = subprocess.run(["prusa-slicer", "--export-gcode", "--output", str(code), str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]
    heights = [float(line.split("Z")[1].split()[0]) for line in code.read_text().splitlines() if line.startswith("G1 Z")]
    # the cube's 20 mm; the last move lifts the nozzle
    assert 19.5 < sorted(set(heights))[-2] <= 20.5
