"""What a geometry starts from, as a config names it. Loads no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from threefusion.config.fields import Settings
from threefusion.config.tree import Tree
from threefusion.errors import ConfigError, UserError
from threefusion.registry import entry_of, meets

if TYPE_CHECKING:
    from threefusion.config.run import RunConfig

SOURCE = "geometry.init_from"
MESHES = (".glb", ".gltf", ".obj", ".ply", ".stl")
MESH = "geometry.mesh"


def source_of(geometry: Settings) -> str:
    """The run or the file that a geometry starts from; empty for none."""
    return getattr(geometry, "init_from", "")


def find_source(name: str) -> Path:
    """The run folder or the mesh file that is called `name`.

    Raises:
        UserError: it is neither.
    """
    path, expected = Path(name), f"expected a run folder or a file {', '.join(MESHES)}"
    if not path.exists():
        raise UserError(f"{SOURCE}: {path} does not exist; {expected}")
    if path.is_dir() and not (path / "config.yaml").is_file():
        raise UserError(f"{SOURCE}: {path} is no run folder (it has no config.yaml)")
    if not path.is_dir() and path.suffix.lower() not in MESHES:
        raise UserError(f"{SOURCE}: {path} is no mesh; {expected}")
    return path


def find_mesh(name: str) -> Path:
    """The mesh file that is called `name`.

    Raises:
        UserError: it is none.
    """
    path, expected = Path(name), f"expected a file {', '.join(MESHES)}"
    if not path.is_file():
        raise UserError(f"{MESH}: {path} {'is a folder' if path.is_dir() else 'does not exist'}; {expected}")
    if path.suffix.lower() not in MESHES:
        raise UserError(f"{MESH}: {path} is no mesh; {expected}")
    return path


def refuse_missing_mesh(geometry: Settings, before: Settings | None, tree: Tree, started: bool) -> None:
    """Refuse a geometry that shows a mesh file without one, unless the stage before has it.

    Raises:
        ConfigError: with the line.
    """
    if not hasattr(geometry, "mesh") or (before is not None and type(before) is type(geometry)):
        return
    kind = entry_of(geometry).name
    if not geometry.mesh:
        where = tree.places["geometry"]
        raise ConfigError(f"{MESH}: {kind!r} needs a mesh file: train with --mesh FILE, or set {MESH}", where)
    try:
        if not started:
            find_mesh(geometry.mesh)
    except UserError as error:
        raise ConfigError(str(error), tree.places[MESH]) from None


def refuse_missing_source(geometry: Settings, before: Settings | None, tree: Tree, started: bool) -> None:
    """Refuse a source that does not exist, and a geometry that cannot do without one and has none.

    `before` is the geometry of the stage before. What has `started` does not need its source any more.

    Raises:
        ConfigError: with the line.
    """
    refuse_missing_mesh(geometry, before, tree, started)
    if name := source_of(geometry):
        try:
            if not started:
                find_source(name)
        except UserError as error:
            raise ConfigError(str(error), tree.places[SOURCE]) from None
        return
    entry = entry_of(geometry)
    if meets(entry.needs, () if before is None else entry_of(before).gives):
        return
    why = "is the first" if before is None else f"comes after {entry_of(before).name!r}, which has no surface"
    raise ConfigError(
        f"geometry: {entry.name!r} has to start from something and {why}: set {SOURCE} to a run or a mesh file "
        f"({', '.join(MESHES)}), or make it a stage after another geometry",
        tree.places["geometry"],
    )


def edits(guidance: Settings) -> bool:
    """Whether an objective edits something: a picture, or without one the scene that the run starts from."""
    return hasattr(guidance, "source_prompt")


def compared(run: RunConfig) -> list[str]:
    """The objectives of a run or a stage, by name, that compare with the scene that it starts from."""
    objectives = run.guidance.items()
    editing = [name for name, settings in objectives if edits(settings) and not settings.source]
    return editing + [name for name, settings in objectives if getattr(getattr(settings, "prior", None), "of_start", False)]


def refuse_nothing_to_edit(run: RunConfig, before: RunConfig | None, tree: Tree) -> None:
    """Refuse an objective that compares with a scene or a picture where there is none, or without words for it.

    `before` is the stage before.

    Raises:
        ConfigError: with the line.
    """
    for name, settings in run.guidance.items():
        if not edits(settings):
            continue
        key = "guidance" if "guidance" in tree.classes else f"guidance.{name}"
        where, kind = tree.places.get(key, tree.places.get("guidance")), entry_of(settings).name
        if not settings.source and before is None and not source_of(run.geometry) and not hasattr(run.geometry, "mesh"):
            start = f"{SOURCE} to a run or a mesh file" if hasattr(run.geometry, "init_from") else ""
            ways = ", or ".join(filter(None, (start, f"{key}.source to a picture")))
            raise ConfigError(f"{key}: {kind!r} edits something, and this run starts from nothing: set {ways}", where)
        if settings.source and not Path(settings.source).is_file():
            raise ConfigError(f"{key}.source: {settings.source} does not exist", tree.places.get(f"{key}.source", where))
        if not settings.source_prompt.strip():
            raise ConfigError(f"{key}.source_prompt: must be given: what is edited, in words", where)
