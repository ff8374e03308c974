"""What `geometry.init_from` names, as a scene to start from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from threefusion.config import RunConfig
from threefusion.config.source import SOURCE, compared, find_source, source_of
from threefusion.errors import UserError
from threefusion.run.folder import latest_checkpoint, stage_folders

if TYPE_CHECKING:
    from threefusion.system.start import Source


def refuse_lost_sources(config: RunConfig, run: Path | None, again: int | None) -> None:
    """Refuse to go on with a `run` if what one of its stages is about to start from does not exist any more.

    That is a stage without a checkpoint, one that is trained `again`, or one with an objective that compares with it.

    Raises:
        UserError: it is gone.
    """
    if run is None:
        return
    for index, (stage, folder) in enumerate(zip(config.parts, stage_folders(run, config), strict=True)):
        anew = latest_checkpoint(folder) is None or (again is not None and index >= again)
        if (anew or compared(stage)) and (name := source_of(stage.geometry)):
            find_source(name)


def starting_scene(stage: RunConfig, previous: Source | None = None) -> Source | None:
    """What `geometry.init_from` of a stage (or a run without stages) names; `previous` if it names nothing.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    name = source_of(stage.geometry)
    if not name:
        return previous
    path = find_source(name)
    try:
        return _run(path) if path.is_dir() else _mesh(path, stage.geometry.radius)
    except UserError as error:
        raise UserError(f"{SOURCE}: {error}") from error


def _run(path: Path) -> Source:
    from threefusion.run.results import load_scene
    from threefusion.system.start import Source

    _, scene, renderer, _ = load_scene(path)
    return Source(scene, renderer, f"run {path}, {latest_checkpoint(path).relative_to(path).with_suffix('')}")


def _mesh(path: Path, radius: float) -> Source:
    from threefusion.asset.single import fitted, read_mesh
    from threefusion.background.settings import SolidConfig
    from threefusion.geometry.fixed_mesh import ColoredMesh
    from threefusion.material.settings import DiffuseConfig
    from threefusion.registry import build
    from threefusion.system.start import Source
    from threefusion.types import Scene

    mesh, scale = fitted(read_mesh(path), radius)
    size = "" if scale is None else f", centred and scaled by {scale:.3g}"
    scene = Scene(ColoredMesh(mesh, radius), build(DiffuseConfig()), build(SolidConfig()))
    return Source(scene, None, f"file {path}{size}")
