"""Exported meshes rendered with this project's cameras: for videos, tests, scores and reports."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, normalize

from threefusion.asset.accessors import read_array, read_floats
from threefusion.asset.container import Container, open_container
from threefusion.asset.read import read_asset
from threefusion.asset.single import single_mesh
from threefusion.camera.projection import clip_coordinates
from threefusion.config import Settings
from threefusion.errors import UserError
from threefusion.exporter.axes import from_y_up
from threefusion.exporter.formats.glb import TEXTURES
from threefusion.geometry.normals import vertex_normals
from threefusion.ops.color import encode_srgb
from threefusion.ops.rasterize import Fragments, interpolate, rasterize
from threefusion.renderer.views import Mode
from threefusion.types import Cameras, Mesh, ViewBatch


@dataclass(frozen=True)
class SurfaceViews:
    """Renders of a mesh; everything is 0 where `mask` is."""

    mask: Float[Tensor, "B H W 1"]
    base_color: Float[Tensor, "B H W 3"]
    normal: Float[Tensor, "B H W 3"]
    """World space, unit."""


def load_glb(path: Path | str) -> Mesh:
    """The mesh in an exported GLB, compressed or not, with its normals and its uv and textures or vertex colours, in scene axes.

    An export with a physical height is returned in scene units (+z up, front +x).

    Raises:
        UserError: the file is damaged, or is no GLB of one mesh with colours.
    """
    try:
        mesh = _mesh_of(open_container(Path(path)))
    except Exception as error:  # a damaged file can raise anything
        raise UserError(f"{path}: cannot be read as an exported GLB ({type(error).__name__})") from error
    count = len(mesh.vertices)
    if not len(mesh.faces) or not 0 <= int(mesh.faces.min()) <= int(mesh.faces.max()) < count:
        raise UserError(f"{path}: damaged; it has no faces, or faces of vertices that it lacks")
    attributes = (mesh.vertices, mesh.normals, mesh.colors if mesh.uv is None else mesh.uv)
    if not all(len(values) == count and values.isfinite().all() for values in attributes):
        raise UserError(f"{path}: damaged; vertices, normals, uv or colours are missing or not finite")
    return mesh


def _mesh_of(file: Container) -> Mesh:
    """The one mesh of a file that `encode_glb` or `encode_web` has written."""
    tree = file.tree
    (node,), (primitive,) = tree["nodes"], tree["meshes"][0]["primitives"]
    read = {name: torch.from_numpy(read_floats(file, index)) for name, index in primitive["attributes"].items()}
    faces = read_array(file, primitive["indices"], "SCALAR").astype(np.int64).reshape(-1, 3)
    vertices = read["POSITION"] * _tensor(node.get("scale", [1, 1, 1])) + _tensor(node.get("translation", [0, 0, 0]))
    size = tree["asset"].get("extras", {}).get("scene", {"scale": 1, "offset": [0, 0, 0]})
    mesh = Mesh(
        vertices=(from_y_up(vertices) - _tensor(size["offset"])) / float(size["scale"]),
        faces=torch.from_numpy(faces),
        normals=from_y_up(read["NORMAL"]),
    )
    material = tree["materials"][primitive["material"]]
    slots = material | material["pbrMetallicRoughness"]
    images = {name: slots[key]["index"] for name, key in TEXTURES.items() if key in slots}
    if "base_color" not in images:
        return replace(mesh, colors=encode_srgb(read["COLOR_0"][:, :3].clamp_min(0)))
    uv = torch.stack([read["TEXCOORD_0"][:, 0], 1 - read["TEXCOORD_0"][:, 1]], -1)
    return replace(mesh, uv=uv, textures={name: _image(file, index) for name, index in images.items()})


def _image(file: Container, index: int) -> Float[Tensor, "H W 3"]:
    """The picture of a texture."""
    from PIL import Image

    texture = file.tree["textures"][index]
    source = texture.get("extensions", {}).get("EXT_texture_webp", texture)["source"]
    data = file.view(file.tree["images"][source]["bufferView"])
    return _tensor(Image.open(io.BytesIO(data)).convert("RGB")) / 255


def load_exported(path: Path, geometry: Settings) -> Mesh:
    """The exported mesh of a run in scene units; a retextured file, which has its own, is read like the original.

    Raises:
        UserError: it is damaged.
    """
    if not getattr(geometry, "mesh", ""):
        return load_glb(path)
    mesh = single_mesh(read_asset(path, geometry.radius))
    return replace(mesh, normals=vertex_normals(mesh))


def _tensor(values: object) -> Float[Tensor, "*shape"]:
    """A float32 copy."""
    return torch.from_numpy(np.array(values, np.float32))


def rasterised_views(mesh: Mesh, cameras: Cameras, cull: bool = False) -> SurfaceViews:
    """Mask, base colour and normal of a mesh with normals and a `base_color` texture or vertex colours, one sample per pixel.

    `cull` leaves out faces seen from behind, which is quicker and right for closed meshes.
    """
    fragments = rasterize(clip_coordinates(mesh.vertices, cameras), mesh.faces, cameras.height, cameras.width, cull)
    mask = (fragments.face >= 0)[..., None].float()
    return SurfaceViews(
        mask=mask,
        base_color=base_color_at(mesh, fragments) * mask,
        normal=normalize(interpolate(mesh.normals, mesh.faces, fragments), dim=-1) * mask,
    )


def is_coloured(mesh: Mesh) -> bool:
    """Whether it has what `mesh_images` needs: normals, and a base colour everywhere."""
    return mesh.normals is not None and (mesh.colors is not None if mesh.uv is None else "base_color" in (mesh.textures or {}))


def mesh_images(mesh: Mesh, views: ViewBatch, mode: Mode = "albedo") -> Iterator[Float[Tensor, "H W 3"]]:
    """The mesh from each view in turn over white, lit by the views' lights as the material `diffuse` is.

    Every pixel is the mean of 2 x 2 samples.
    """
    for index in range(len(views)):
        view = views.select(torch.tensor([index]))
        fine = replace(view.camera, height=2 * view.camera.height, width=2 * view.camera.width)
        fragments = rasterize(clip_coordinates(mesh.vertices, fine), mesh.faces, fine.height, fine.width)
        normal = normalize(interpolate(mesh.normals, mesh.faces, fragments), dim=-1)
        towards = normalize(view.light.position - interpolate(mesh.vertices, mesh.faces, fragments), dim=-1)
        shone = view.light.color * (normal * towards).sum(-1, keepdim=True).clamp_min(0) + view.light.ambient
        color = (
            0.5 * normal + 0.5 if mode == "normal" else shone * (1 if mode == "textureless" else base_color_at(mesh, fragments))
        )
        image = torch.where((fragments.face >= 0)[..., None], color, 1.0)
        yield avg_pool2d(image.permute(0, 3, 1, 2), 2)[0].permute(1, 2, 0)


def base_color_at(mesh: Mesh, fragments: Fragments) -> Float[Tensor, "B H W 3"]:
    """Base colour at the seen points: of the texture, bilinear, or of the vertices."""
    if mesh.uv is None:
        return interpolate(mesh.colors, mesh.faces, fragments)
    uv = interpolate(mesh.uv, mesh.faces, fragments)
    # grid_sample wants (x, y) in [-1, 1] with y down; v = 1 is row 0
    position = torch.stack([2 * uv[..., 0] - 1, 1 - 2 * uv[..., 1]], -1)
    texture = mesh.textures["base_color"].permute(2, 0, 1)[None].expand(len(position), -1, -1, -1)
    return grid_sample(texture, position, align_corners=False, padding_mode="border").permute(0, 2, 3, 1)
