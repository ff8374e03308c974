"""What `geometry.init_from` names, as a scene to start from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from threefusion.config import RunConfig
from threefusion.errors import UserError

if TYPE_CHECKING:
    from threefusion.types import Scene


def starting_scene(stage: RunConfig, previous: Scene | None = None) -> Scene | None:
    """The scene that `geometry.init_from` of a stage (or a run without stages) names; `previous` if it names none.

    Raises:
        UserError: there is none, or it cannot be read.
    """
    name = getattr(stage.geometry, "init_from", "")
    if not name:
        return previous
    from threefusion.background.settings import SolidConfig
    from threefusion.exporter.mesh_files import read_mesh
    from threefusion.geometry.fixed_mesh import ColoredMesh
    from threefusion.material.settings import DiffuseConfig
    from threefusion.registry import build
    from threefusion.run.results import load_scene
    from threefusion.types import Scene

    path = Path(name).expanduser()
    try:
        if not path.exists():
            raise UserError(f"{path}: no such run or file")
        if path.is_dir():
            return load_scene(path)[1]
        mesh = read_mesh(path, stage.geometry.radius)
    except UserError as error:
        raise UserError(f"geometry.init_from: {error}") from error
    return Scene(ColoredMesh(mesh, stage.geometry.radius), build(DiffuseConfig()), build(SolidConfig()))
