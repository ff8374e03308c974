"""3MF in millimetres, with the colour of every triangle's corners as a colour group. Needs lib3mf."""

from __future__ import annotations

import ctypes
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from threefusion.exporter.axes import to_z_up
from threefusion.exporter.images import as_bytes
from threefusion.exporter.model import GENERATOR, Model, one_line

if TYPE_CHECKING:
    from lib3mf import BuildItem, MeshObject
    from lib3mf import Model as File


def encode_3mf(model: Model, path: Path) -> dict[Path, bytes]:
    """One object on the print bed, in the positive octant as the specification recommends."""
    import lib3mf

    wrapper = lib3mf.get_wrapper()
    file = wrapper.CreateModel()
    file.SetUnit(lib3mf.ModelUnit.MilliMeter)
    mesh = model.millimetres
    positions, faces = to_z_up(mesh.vertices).numpy(), mesh.faces.numpy()
    item = file.AddMeshObject()
    item.SetName(model.options.about.title or path.stem)
    item.SetGeometry(_rows(lib3mf.Position, positions, "<f4"), _rows(lib3mf.Triangle, faces, "<u4"))
    colors, color = np.unique(as_bytes(mesh.colors), axis=0, return_inverse=True)
    group = file.AddColorGroup()
    ids = np.array([group.AddColor(wrapper.RGBAToColor(*rgb, 255)) for rgb in colors.tolist()], np.uint32)
    resource = group.GetResourceID()
    properties = np.column_stack([np.full(len(faces), resource), ids[color.reshape(-1)][faces]])
    item.SetAllTriangleProperties(_rows(lib3mf.TriangleProperties, properties, "<u4"))
    # programs that ignore the colour of triangles show this one, and it makes the others valid
    item.SetObjectLevelProperty(resource, int(ids[np.bincount(color.reshape(-1)).argmax()]))
    built = file.AddBuildItem(item, wrapper.GetTranslationTransform(*(-positions.min(0)).tolist()))
    _name_alike(file, item, built)
    _describe(file, model)
    return {path: bytes(file.QueryWriter("3mf").WriteToBuffer())}


def _rows(struct: type[ctypes.Structure], values: np.ndarray, dtype: str) -> ctypes.Array:
    """The rows of an array as lib3mf's structs."""
    return (struct * len(values)).from_buffer_copy(np.ascontiguousarray(values, dtype))


def _name_alike(file: File, item: MeshObject, built: BuildItem) -> None:
    """Identifiers that depend on nothing: lib3mf draws random ones, and the same scene would give different files."""
    for index, part in enumerate((item, built)):
        part.SetUUID(str(uuid.uuid5(uuid.NAMESPACE_OID, f"{GENERATOR}/{index}")))
    file.SetBuildUUID(str(uuid.uuid5(uuid.NAMESPACE_OID, GENERATOR)))


def _describe(file: File, model: Model) -> None:
    """The origin of the model, by the names that the specification knows."""
    about = model.options.about
    seed = "" if about.seed is None else f"seed {about.seed}"
    known = {
        "Application": GENERATOR,
        "Title": about.title,
        "Description": ", ".join(filter(None, [about.title, seed])),
        "LicenseTerms": "\n".join(f"made with {one_line(model)}" for model in about.models),
    }
    for name, value in known.items():
        if value:
            file.GetMetaDataGroup().AddMetaData("", name, value, "xs:string", True)
