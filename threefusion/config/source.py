"""What a geometry starts from, as a config names it. Loads no torch."""

from __future__ import annotations

from pathlib import Path

from threefusion.config.fields import Settings
from threefusion.config.tree import Tree
from threefusion.errors import ConfigError, UserError
from threefusion.registry import entry_of, meets

SOURCE = "geometry.init_from"
MESHES = (".glb", ".obj", ".ply")


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


def refuse_missing_source(geometry: Settings, before: Settings | None, tree: Tree, started: bool) -> None:
    """Refuse a source that does not exist, and a geometry that cannot do without one and has none.

    `before` is the geometry of the stage before. What has `started` does not need its source any more.

    Raises:
        ConfigError: with the line.
    """
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
