"""Run by a Python that has Open3D: `python open3d_program.py FOLDER OUT SETTINGS` draws every file as specimen.py does."""

import json
import sys
from pathlib import Path

import numpy as np
import open3d as o3d


def draw(path: Path, out: Path, settings: dict) -> dict:
    """What Open3D has read, by its own ray caster: its offscreen renderer needs a display or a GPU."""
    model = o3d.io.read_triangle_model(str(path))
    meshes = [part.mesh for part in model.meshes] or [o3d.io.read_triangle_mesh(str(path))]
    materials = list(model.materials) or [None]
    if not len(meshes[0].triangles):
        raise ValueError("no triangles")
    z_up = path.suffix in (".ply", ".stl", ".3mf")
    points = np.concatenate([np.asarray(mesh.vertices) for mesh in meshes])
    low, high = points.min(0), points.max(0)
    front, left, up = settings["from"]
    direction = np.array([left, -front, up] if z_up else [left, up, front])
    direction /= np.linalg.norm(direction)
    vertical = 2 if z_up else 1
    half = settings["half"] * (high - low)[vertical] / settings["height"]
    right = np.cross(np.eye(3)[vertical], direction)
    right /= np.linalg.norm(right)
    upward = np.cross(direction, right)
    steps = (np.arange(settings["size"]) + 0.5) / settings["size"] * 2 - 1
    origins = (low + high) / 2 + half * (20 * direction + steps[None, :, None] * right - steps[:, None, None] * upward)
    rays = np.concatenate([origins, np.broadcast_to(-direction, origins.shape)], -1).astype(np.float32)
    caster = o3d.t.geometry.RaycastingScene()
    for mesh in meshes:
        caster.add_triangles(o3d.t.geometry.TriangleMesh.from_legacy(mesh))
    hit = {name: values.numpy() for name, values in caster.cast_rays(o3d.core.Tensor(rays)).items()}
    picture = np.ones((*hit["t_hit"].shape, 3))
    for index, mesh in enumerate(meshes):
        mask = np.isfinite(hit["t_hit"]) & (hit["geometry_ids"] == index)
        bary = hit["primitive_uvs"][mask]
        weights = np.column_stack([1 - bary.sum(-1), bary])
        material = materials[min(index, len(materials) - 1)]
        picture[mask] = colors(mesh, material, hit["primitive_ids"][mask], weights)
    o3d.io.write_image(str(out), o3d.geometry.Image((picture * 255).round().astype(np.uint8)))
    found = ["normal"] * meshes[0].has_vertex_normals() + ["color"] * meshes[0].has_vertex_colors()
    found += ["uv"] * meshes[0].has_triangle_uvs() + sorted({kind for material in materials for kind in maps(material)})
    return {"size": (high - low).tolist(), "floor": float(low[vertical]), "found": found}


def maps(material: object) -> list[str]:
    """The pictures of a material."""
    names = [name for name in dir(material) if name.endswith("_img")]
    return [name.removesuffix("_img") for name in names if np.asarray(getattr(material, name) or []).size]


def colors(mesh: object, material: object, faces: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Base colour at points of faces: of the texture or of the vertices, grey without."""
    picture = np.asarray(material.albedo_img) if "albedo" in maps(material) else None
    if picture is not None and mesh.has_triangle_uvs():
        corners = np.asarray(mesh.triangle_uvs).reshape(-1, 3, 2)[faces]
        uv = (corners * weights[..., None]).sum(1)
        # Open3D turns v upward and keeps the rows of the picture
        rows = np.clip((1 - uv[:, 1]) % 1.0 * picture.shape[0], 0, picture.shape[0] - 1).astype(int)
        columns = np.clip(uv[:, 0] % 1.0 * picture.shape[1], 0, picture.shape[1] - 1).astype(int)
        return picture[rows, columns, :3] / 255
    if mesh.has_vertex_colors():
        return (np.asarray(mesh.vertex_colors)[np.asarray(mesh.triangles)[faces]] * weights[..., None]).sum(1)
    return np.full((len(faces), 3), 0.5)


def main() -> None:
    """All files."""
    folder, out, settings = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
    facts = {}
    for name in settings["files"]:
        try:
            facts[name] = draw(folder / name, out / f"{name.replace('/', '-')}.png", settings)
        except Exception as error:  # what it cannot read is part of the table
            facts[name] = {"error": str(error)}
    (out / "facts.json").write_text(json.dumps({"version": o3d.__version__, "files": facts}))


main()
