"""Other textures in a glTF file: images, textures and materials change, everything else stays."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import numpy as np

from threefusion.asset.container import Container
from threefusion.asset.coordinates import set_coordinates
from threefusion.asset.editor import Editor, entries_of
from threefusion.asset.textures import slots

Primitive = tuple[int, int]
"""A mesh of the file, and which of its primitives."""


@dataclass(frozen=True)
class Repainted:
    """What changes of a material of the file, for some of the primitives that have it."""

    name: str
    source: int | None
    """Index of the material in the file; None for primitives without one."""
    pictures: dict[str, bytes]
    """PNG files by texture: `base_color`, `metallic_roughness`, `normal`."""
    primitives: frozenset[Primitive]
    coordinates: dict[Primitive, np.ndarray]
    """Texture coordinates of the corners `[F, 3, 2]`, v down, of primitives that had none; then all of them."""


def patch_gltf(container: Container, changes: list[Repainted]) -> dict[str, bytes]:
    """The files of a glTF file with other textures, by name, it first. The new pictures hold the complete colours.

    Factors of a replaced texture become 1 (alpha stays), and vertex colours, by which viewers would multiply it, stay as the
    custom attribute `_COLOR_0`. A material that other primitives have too is copied. A picture that something else
    uses stays, and the new one is added.
    """
    editor = Editor(container)
    changed = _assign_materials(editor, [change for change in changes if change.pictures])
    painted = []
    for change, entry in changed:
        for mesh, position in sorted(change.primitives):
            primitive = editor.tree["meshes"][mesh]["primitives"][position]
            if (mesh, position) in change.coordinates:
                set_coordinates(editor, primitive, change.coordinates[mesh, position])
            if "base_color" in change.pictures and "COLOR_0" in primitive["attributes"]:
                primitive["attributes"].setdefault("_COLOR_0", primitive["attributes"].pop("COLOR_0"))
        painted += _prepare(change, entry)
    _paint(editor, painted)
    for name in container.entries("extensionsUsed"):
        editor.forget_extension(name)
    return editor.result()


def _assign_materials(editor: Editor, changes: list[Repainted]) -> list[tuple[Repainted, dict[str, Any]]]:
    """Each change with the material to make it in: the file's own if no other primitive has it, else a copy."""
    users: dict[int, set[Primitive]] = defaultdict(set)
    for mesh, entry in enumerate(editor.tree.get("meshes", [])):
        for position, primitive in enumerate(entry.get("primitives", [])):
            if "material" in primitive:
                users[primitive["material"]].add((mesh, position))
    # materials that another primitive's variant names
    variants = {
        mapping.get("material")
        for entry in entries_of(editor.tree)
        for mapping in entry.get("mappings", [])
        if isinstance(mapping, dict)
    }
    left = {source: set(primitives) for source, primitives in users.items()}
    for change in changes:
        if change.source is not None:
            left[change.source] -= change.primitives
    taken, assigned = set(variants), []
    for change in changes:
        index = change.source
        if index is None or left[index] or index in taken:
            entry = {} if index is None else deepcopy(editor.tree["materials"][index])
            entry.setdefault("name", change.name)
            index = editor.add("materials", entry)
            for mesh, position in change.primitives:
                editor.tree["meshes"][mesh]["primitives"][position]["material"] = index
        taken.add(index)
        assigned.append((change, editor.tree["materials"][index]))
    return assigned


@dataclass(frozen=True)
class Slot:
    """A texture of a material that is replaced."""

    info: dict[str, Any]
    picture: bytes
    name: str


def _prepare(change: Repainted, material: dict[str, Any]) -> list[Slot]:
    """The slots of a material that are replaced, with factors that leave the new pictures as they are."""
    if change.coordinates:  # its textures belong to coordinates that these primitives do not have
        for entry in list(entries_of(material)):
            for key in [key for key in entry if key.lower().endswith("texture")]:
                del entry[key]
    surface = material.setdefault("pbrMetallicRoughness", {}) if change.pictures.keys() - {"normal"} else {}
    common = next((owner[key] for _, owner, key in slots(material) if key in owner), {})
    made = []
    for name, owner, key in list(slots(material)):
        if name in change.pictures:
            info = owner.setdefault(key, {})
            _use_coordinates(info, common)
            made.append(Slot(info, change.pictures[name], f"{_slug(change.name)}-{name}"))
    if "base_color" in change.pictures and "baseColorFactor" in surface:
        surface["baseColorFactor"] = [1.0, 1.0, 1.0, surface["baseColorFactor"][3]]
    if "metallic_roughness" in change.pictures:
        surface.pop("metallicFactor", None)
        surface.pop("roughnessFactor", None)
    if "normal" in change.pictures:
        material["normalTexture"].pop("scale", None)
    return made


def _use_coordinates(info: dict[str, Any], common: dict[str, Any]) -> None:
    """Make a texture use the texture coordinates of another one, and their transform."""
    if info is common:
        return
    info.pop("texCoord", None)
    info.get("extensions", {}).pop("KHR_texture_transform", None)
    if "texCoord" in common:
        info["texCoord"] = common["texCoord"]
    if moved := common.get("extensions", {}).get("KHR_texture_transform"):
        info.setdefault("extensions", {})["KHR_texture_transform"] = deepcopy(moved)
    if not info.get("extensions", True):
        del info["extensions"]


def _paint(editor: Editor, painted: list[Slot]) -> None:
    """Point slots to new pictures: in textures and images that nothing else refers to, else in new ones."""
    textures = editor.tree.get("textures", [])
    uses = Counter(index for index in map(_texture_of, _infos(editor.tree)) if index is not None)
    replaced = Counter(index for index in (_texture_of(slot.info) for slot in painted) if index is not None)
    free_textures = {index for index, count in replaced.items() if uses[index] == count}
    kept = {source for index, texture in enumerate(textures) if index not in free_textures for source in _sources(texture)}
    free_images = {source for index in free_textures for source in _sources(textures[index])} - kept
    images: dict[bytes, int] = {}
    made: dict[tuple[bytes, int | None], int] = {}
    for slot in painted:
        before = _texture_of(slot.info)
        old = {} if before is None else textures[before]
        key = (slot.picture, old.get("sampler"))
        if key not in made:
            if slot.picture not in images:
                source = next((image for image in _sources(old) if image in free_images), None)
                free_images.discard(source)
                images[slot.picture] = editor.put_picture(source, slot.picture, slot.name)
            made[key] = _put_texture(editor, before if before in free_textures else None, old, images[slot.picture])
            free_textures.discard(before)
        slot.info["index"] = made[key]


def _put_texture(editor: Editor, index: int | None, old: dict[str, Any], image: int) -> int:
    """The texture that shows an image from now on: the texture `index`, or a new one like the old one."""
    if index is None:
        kept = {"sampler": old["sampler"]} if "sampler" in old else {}
        return editor.add("textures", {**kept, "source": image})
    texture = editor.tree["textures"][index]
    texture["source"] = image
    for name in [name for name, entry in texture.get("extensions", {}).items() if "source" in entry]:
        del texture["extensions"][name]
    if not texture.get("extensions", True):
        del texture["extensions"]
    return index


def _infos(tree: Any) -> list[dict[str, Any]]:
    """All entries that refer to a texture."""
    return [
        value
        for entry in entries_of(tree)
        for key, value in entry.items()
        if key.lower().endswith("texture") and isinstance(value, dict)
    ]


def _texture_of(info: dict[str, Any]) -> int | None:
    return info["index"] if isinstance(info.get("index"), int) else None


def _sources(texture: dict[str, Any]) -> list[int]:
    """The images of a texture, in all formats."""
    entries = [texture, *texture.get("extensions", {}).values()]
    return [entry["source"] for entry in entries if isinstance(entry, dict) and isinstance(entry.get("source"), int)]


def _slug(name: str) -> str:
    """A name that is safe in a file's name."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:40] or "material"
