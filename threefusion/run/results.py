"""What comes out of a trained scene: turntable, meshes, scores, the report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from threefusion.config import RunConfig
from threefusion.errors import UserError
from threefusion.run.folder import latest_checkpoint, open_run, relative, write_report

if TYPE_CHECKING:
    from threefusion.camera.sampler import CameraSampler
    from threefusion.system.text_to_3d import TextTo3D
    from threefusion.types import Scene


def finish(run: Path, config: RunConfig, system: TextTo3D, report: dict[str, Any]) -> None:
    """Turntable, mesh, scores and report of a trained system; the report is written whatever becomes of the mesh.

    Raises:
        UserError: the scene is empty.
    """
    checkpoint = relative(latest_checkpoint(run), run)
    report = report | {"metrics": None, "artifacts": {"mesh": None, "video": None, "checkpoint": checkpoint}}
    try:
        if config.exporter is None:
            print(f"pictures: {run / 'images'}")
            return
        output = config.output
        video = turntable(run / "turntable.mp4", system.scene, system.camera, output.turntable_frames, output.turntable_size)
        report["artifacts"]["video"] = relative(video, run)
        # a mesh that an earlier part of the run has exported is not this scene's
        for old in (run / "mesh").glob("*"):
            old.unlink()
        paths, fidelity = export_scene(config, system.scene, run / "mesh")
        report["artifacts"]["mesh"] = relative(paths[0], run)
        report["export"] = fidelity
        report["metrics"] = scores(config, paths[0])
        print(f"mesh: {paths[0]}")
    finally:
        write_report(run, report)


def turntable(
    path: Path, scene: Scene, camera: CameraSampler, frames: int, size: int, mode: str = "albedo", light: str = "camera"
) -> Path:
    """A video of one turn round the scene."""
    from threefusion.callback.images import SHADING, evaluation_orbit, look, write_video

    batch = evaluation_orbit(camera, frames, size, SHADING[mode], light)
    write_video(path, look(scene, batch, mode))
    return path


def export_scene(
    config: RunConfig, scene: Scene, folder: Path, formats: list[str] | None = None
) -> tuple[list[Path], dict[str, float]]:
    """Write the scene's mesh files; the paths and how well the mesh agrees with the field."""
    from threefusion.config import choose
    from threefusion.registry import build

    choice = config.exporter
    if formats:
        choice = choose("exporter", choice.name, **{**dict(choice.settings), "formats": formats})
    exporter = build(choice)
    return exporter(scene, folder), exporter.report


def scores(config: RunConfig, mesh: Path) -> dict[str, Any] | None:
    """The exported mesh against the exact truth, None where the prompt names no toy-world object."""
    from threefusion.exporter.preview import load_glb, rasterised_views
    from threefusion.toyworld.score import find_object, score, scoring_cameras

    target = find_object(dict(config.prompt.settings).get("text", ""))
    if target is None:
        return None
    cameras = scoring_cameras()
    views = rasterised_views(load_glb(mesh), cameras)
    return score(views.mask[..., 0], views.base_color, target, cameras)


def load_scene(run: Path) -> tuple[RunConfig, Scene, CameraSampler]:
    """The newest state of a run, ready to be looked at; the prior is not needed.

    Raises:
        UserError: no run there, or nothing saved yet.
    """
    from threefusion.registry import build
    from threefusion.run.checkpoint import read_checkpoint
    from threefusion.system.scene import build_scene, restore_scene

    config = open_run(run)
    checkpoint = latest_checkpoint(run)
    if checkpoint is None:
        raise UserError(f"{run}: the run has saved no checkpoint yet. Go on with: python launch.py train --resume {run}")
    scene = build_scene(config)
    restore_scene(scene, read_checkpoint(checkpoint)["state_dict"])
    return config, scene, build(config.camera)


def render(run: Path, views: int, mode: str, light: str, size: int, out: Path | None) -> Path:
    """Write a turntable of a run as MP4, or as PNG files when `out` is a folder name; returns what was written."""
    from threefusion.callback.images import SHADING, evaluation_orbit, look, write_png

    _, scene, camera = load_scene(run)
    out = out or run / f"turntable-{mode}{'-relit' if light == 'orbit' else ''}.mp4"
    if out.suffix == ".mp4":
        return turntable(out, scene, camera, views, size, mode, light)
    out.mkdir(parents=True, exist_ok=True)
    for place, image in enumerate(look(scene, evaluation_orbit(camera, views, size, SHADING[mode], light), mode)):
        write_png(out / f"{place:03d}.png", image)
    return out


def export(run: Path, formats: list[str]) -> list[Path]:
    """Write mesh files of a run again."""
    config, scene, _ = load_scene(run)
    if config.exporter is None:
        raise UserError(f"{run}: the config of this run has no exporter")
    return export_scene(config, scene, run / "mesh", formats)[0]
