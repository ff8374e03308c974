"""OBJ with its material library and textures. Positions are shared across texture seams, so that closed surfaces stay closed."""

from __future__ import annotations

from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from threefusion.exporter.axes import to_y_up
from threefusion.exporter.images import png
from threefusion.exporter.model import Model
from threefusion.exporter.topology import first_of, welding
from threefusion.types import Mesh


def encode_obj(model: Model, path: Path) -> dict[Path, bytes]:
    """The mesh; with uv, its material library `.mtl` and textures `.png`, all named after the stem of `path`.

    Without uv, the sRGB colour of a vertex follows its position.
    """
    mesh, stem = model.metres, path.stem
    head = "".join(f"# {line}\n" for line in model.options.about.comments)
    if mesh.uv is None:
        return {path: f"{head}o {stem}\n{_elements(mesh)}".encode()}
    maps = _maps(mesh.textures, stem)
    library = "".join(f"{line}\n" for line in (f"newmtl {stem}", *_factors(maps), *(f"{key} {maps[key][0]}" for key in maps)))
    text = f"{head}mtllib {stem}.mtl\no {stem}\nusemtl {stem}\n{_elements(mesh)}"
    pictures = {path.with_name(name): png(texture) for name, texture in maps.values()}
    return {path: text.encode(), path.with_name(f"{stem}.mtl"): library.encode(), **pictures}


def _factors(maps: dict[str, object]) -> list[str]:
    """Constants of the material: viewers multiply the texture by the diffuse colour, hence white."""
    shading = ["Pr 1", "Pm 1"] if "map_Pr" in maps else ["Pr 1", "Pm 0"]
    return ["Ka 1 1 1", "Kd 1 1 1", "Ks 0 0 0", "d 1", "illum 1", *shading]


def _maps(textures: dict[str, Tensor], stem: str) -> dict[str, tuple[str, Tensor]]:
    """Name and contents of the pictures by keyword; roughness, metallic and normals by those of the PBR extension."""
    maps = {"map_Kd": (f"{stem}.png", textures["base_color"])}
    if "metallic_roughness" in textures:
        _, roughness, metallic = textures["metallic_roughness"].split(1, -1)
        maps["map_Pr"] = (f"{stem}_roughness.png", roughness)
        maps["map_Pm"] = (f"{stem}_metallic.png", metallic)
    if "normal" in textures:
        maps["norm"] = (f"{stem}_normal.png", textures["normal"])
    return maps


def _elements(mesh: Mesh) -> str:
    """Positions, texture coordinates, normals and faces, each distinct one once."""
    positions, position, kept = welding(mesh)
    normals, normal = torch.unique(mesh.normals, dim=0, return_inverse=True)
    corners, lines = [position, normal], []
    if mesh.uv is None:
        colors = mesh.colors[first_of(position, len(positions))]
        lines += _lines("v", torch.cat([to_y_up(positions), colors], -1))
    else:
        uvs, uv = torch.unique(mesh.uv, dim=0, return_inverse=True)
        corners.insert(1, uv)
        lines += _lines("v", to_y_up(positions)) + _lines("vt", uvs)
    lines += _lines("vn", to_y_up(normals))
    return "".join(lines + _faces(torch.stack(corners, -1)[mesh.faces[kept]] + 1))


def _lines(keyword: str, rows: Float[Tensor, "N C"]) -> list[str]:
    """One line per row."""
    line = keyword + " %.7g" * rows.shape[1] + "\n"
    return [line % tuple(row) for row in rows.tolist()]


def _faces(corners: Int[Tensor, "F 3 C"]) -> list[str]:
    """One line per face; a corner is position/uv/normal or position//normal."""
    corner = " " + ("%d//%d" if corners.shape[-1] == 2 else "%d/%d/%d")
    line = "f" + 3 * corner + "\n"
    return [line % tuple(row) for row in corners.flatten(1).tolist()]
