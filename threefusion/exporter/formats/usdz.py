"""USDZ: one package of a binary layer and its textures, in metres and with +y up. Needs usd-core."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from threefusion.exporter.axes import to_y_up
from threefusion.exporter.images import png
from threefusion.exporter.model import GENERATOR, Model, one_line
from threefusion.ops.color import decode_srgb
from threefusion.types import Mesh

if TYPE_CHECKING:
    from pxr import Sdf, Usd, UsdGeom, UsdShade

ROOT = "/Model"
EPOCH = time.mktime((1980, 1, 2, 0, 0, 0, 0, 0, -1))
"""The first whole day that a ZIP file can name, in local time as the format has it."""
INPUTS = {"base_color": "diffuseColor", "normal": "normal"}
"""Inputs of UsdPreviewSurface with three channels, by texture; `metallic_roughness` gives two more of one."""


def encode_usdz(model: Model, path: Path) -> dict[Path, bytes]:
    """A mesh with every texture, or with its vertex colours if it has no uv."""
    from pxr import Sdf, Usd, UsdGeom

    mesh = model.metres
    with tempfile.TemporaryDirectory() as folder:
        layer, package = Path(folder, "model.usdc"), Path(folder, "model.usdz")
        stage = Usd.Stage.CreateNew(str(layer))
        UsdGeom.SetStageUpAxis(stage, UsdGeom.Tokens.y)
        UsdGeom.SetStageMetersPerUnit(stage, 1.0)
        root = UsdGeom.Xform.Define(stage, ROOT).GetPrim()
        stage.SetDefaultPrim(root)
        Usd.ModelAPI(root).SetKind("component")
        _describe(stage, root, model)
        surface = _geometry(stage, mesh)
        pictures = {f"{name}.png": png(texture) for name, texture in (mesh.textures or {}).items() if mesh.uv is not None}
        _bind(stage, surface, mesh)
        stage.GetRootLayer().Save()
        writer = Sdf.ZipFileWriter.CreateNew(str(package))
        _add(writer, layer, layer.name)
        for name, data in pictures.items():
            Path(folder, name).write_bytes(data)
            _add(writer, Path(folder, name), f"textures/{name}")
        writer.Save()
        return {path: package.read_bytes()}


def _add(writer: Sdf.ZipFileWriter, file: Path, name: str) -> None:
    """Add a file without its time: the same scene gives the same package."""
    os.utime(file, (EPOCH, EPOCH))
    writer.AddFile(str(file), name)


def _describe(stage: Usd.Stage, root: Usd.Prim, model: Model) -> None:
    """The origin of the model."""
    about = model.options.about
    root.SetDisplayName(about.title or "model")
    layer = stage.GetRootLayer()
    layer.documentation = GENERATOR
    facts = about.facts | {"prompt": about.title, "models": "\n".join(map(one_line, about.models))}
    layer.customLayerData = {"generator": GENERATOR, **{name: value for name, value in facts.items() if value != ""}}


def _geometry(stage: Usd.Stage, mesh: Mesh) -> UsdGeom.Mesh:
    """The triangles, which no program is to subdivide, with normals and uv or colours per vertex."""
    from pxr import Sdf, UsdGeom, Vt

    surface = UsdGeom.Mesh.Define(stage, f"{ROOT}/Surface")
    points = Vt.Vec3fArray.FromNumpy(to_y_up(mesh.vertices).contiguous().numpy())
    surface.CreatePointsAttr(points)
    surface.CreateExtentAttr(UsdGeom.PointBased.ComputeExtent(points))
    surface.CreateFaceVertexCountsAttr(Vt.IntArray(len(mesh.faces), 3))
    surface.CreateFaceVertexIndicesAttr(Vt.IntArray.FromNumpy(mesh.faces.flatten().int().numpy()))
    surface.CreateSubdivisionSchemeAttr(UsdGeom.Tokens.none)
    surface.CreateNormalsAttr(Vt.Vec3fArray.FromNumpy(to_y_up(mesh.normals).contiguous().numpy()))
    surface.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
    primvars, types = UsdGeom.PrimvarsAPI(surface), Sdf.ValueTypeNames
    if mesh.uv is None:
        colors = Vt.Vec3fArray.FromNumpy(decode_srgb(mesh.colors).numpy())
        primvars.CreatePrimvar("displayColor", types.Color3fArray, UsdGeom.Tokens.vertex).Set(colors)
    else:
        uv = Vt.Vec2fArray.FromNumpy(mesh.uv.contiguous().numpy())
        primvars.CreatePrimvar("st", types.TexCoord2fArray, UsdGeom.Tokens.vertex).Set(uv)
    return surface


def _bind(stage: Usd.Stage, surface: UsdGeom.Mesh, mesh: Mesh) -> None:
    """The material of a mesh: textures, or vertex colours with constant roughness and metallic."""
    from pxr import Sdf, UsdShade

    types = Sdf.ValueTypeNames
    material = UsdShade.Material.Define(stage, f"{ROOT}/Material")
    shader = _shader(stage, "Preview", "UsdPreviewSurface")
    material.CreateSurfaceOutput().ConnectToSource(shader.CreateOutput("surface", types.Token))
    textures = mesh.textures or {}
    if mesh.uv is None or "metallic_roughness" not in textures:
        constants = textures["metallic_roughness"][0, 0, 1:].tolist() if textures and mesh.uv is None else (1.0, 0.0)
        for name, value in zip(("roughness", "metallic"), constants, strict=True):
            shader.CreateInput(name, types.Float).Set(value)
    if mesh.uv is None:
        reader = _shader(stage, "Reader", "UsdPrimvarReader_float3", varname="displayColor")
        color = shader.CreateInput("diffuseColor", types.Color3f)
        color.ConnectToSource(reader.CreateOutput("result", types.Float3))
    else:
        reader = _shader(stage, "Reader", "UsdPrimvarReader_float2", varname="st")
        for name in textures:
            _connect(shader, _texture(stage, name, reader), name)
    UsdShade.MaterialBindingAPI.Apply(surface.GetPrim()).Bind(material)


def _texture(stage: Usd.Stage, name: str, reader: UsdShade.Shader) -> UsdShade.Shader:
    """The node that reads a texture; a normal's bytes become numbers in [-1, 1]."""
    from pxr import Gf, Sdf

    types = Sdf.ValueTypeNames
    texture = _shader(stage, name, "UsdUVTexture")
    texture.CreateInput("file", types.Asset).Set(f"textures/{name}.png")
    texture.CreateInput("sourceColorSpace", types.Token).Set("sRGB" if name == "base_color" else "raw")
    for wrap in ("wrapS", "wrapT"):
        texture.CreateInput(wrap, types.Token).Set("clamp")
    if name == "normal":
        texture.CreateInput("scale", types.Float4).Set(Gf.Vec4f(2, 2, 2, 1))
        texture.CreateInput("bias", types.Float4).Set(Gf.Vec4f(-1, -1, -1, 0))
    texture.CreateInput("st", types.Float2).ConnectToSource(reader.CreateOutput("result", types.Float2))
    return texture


def _connect(shader: UsdShade.Shader, texture: UsdShade.Shader, name: str) -> None:
    """The inputs of the surface that come from a texture."""
    from pxr import Sdf

    types = Sdf.ValueTypeNames
    if name == "metallic_roughness":
        for field, channel in (("roughness", "g"), ("metallic", "b")):
            shader.CreateInput(field, types.Float).ConnectToSource(texture.CreateOutput(channel, types.Float))
        return
    kind = types.Normal3f if name == "normal" else types.Color3f
    shader.CreateInput(INPUTS[name], kind).ConnectToSource(texture.CreateOutput("rgb", types.Float3))


def _shader(stage: Usd.Stage, name: str, kind: str, varname: str = "") -> UsdShade.Shader:
    """A node of the material; readers have the name of the vertex attribute that they read."""
    from pxr import Sdf, UsdShade

    shader = UsdShade.Shader.Define(stage, f"{ROOT}/Material/{name}")
    shader.CreateIdAttr(kind)
    if varname:
        shader.CreateInput("varname", Sdf.ValueTypeNames.String).Set(varname)
    return shader
