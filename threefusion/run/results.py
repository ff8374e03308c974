"""What comes out of a trained scene: turntable, meshes, scores, the report."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from threefusion.config import RunConfig
from threefusion.errors import UserError
from threefusion.run.folder import latest_checkpoint, open_run, relative, write_report

if TYPE_CHECKING:
    from threefusion.camera.sampler import CameraSampler
    from threefusion.exporter.exporter import Exported
    from threefusion.renderer.renderer import Renderer
    from threefusion.system.text_to_3d import TextTo3D
    from threefusion.types import Mesh, Scene


def finish(run: Path, config: RunConfig, system: TextTo3D, report: dict[str, Any]) -> None:
    """Turntable, mesh, scores and report of a trained system; the report is written whatever becomes of the mesh.

    Raises:
        UserError: the scene is empty.
    """
    from threefusion.callback.images import write_video
    from threefusion.camera.orbit import evaluation_orbit
    from threefusion.renderer.views import render_views

    checkpoint = relative(latest_checkpoint(run), run)
    report = report | {"metrics": None, "artifacts": {"mesh": None, "video": None, "checkpoint": checkpoint}}
    try:
        if not config.exporters:
            print(f"pictures: {run / 'images'}")
            return
        output = config.output
        video = run / "turntable.mp4"
        views = evaluation_orbit(system.camera, output.turntable_frames, output.turntable_size)
        write_video(video, render_views(system.renderer, system.scene, views))
        report["artifacts"]["video"] = relative(video, run)
        # a mesh that an earlier part of the run has exported is not this scene's
        shutil.rmtree(run / "mesh", ignore_errors=True)
        (run / "mesh").mkdir()
        results = export_scene(config, system.scene, system.renderer, run / "mesh")
        first = next(iter(results.values()))
        report["artifacts"]["mesh"] = relative(first.paths[0], run)
        report["export"] = first.report if len(results) == 1 else {name: exported.report for name, exported in results.items()}
        report["metrics"] = scores(config, first.mesh)
        for exported in results.values():
            print(f"mesh: {exported.paths[0]}")
    finally:
        write_report(run, report)


def export_scene(
    config: RunConfig, scene: Scene, renderer: Renderer, folder: Path, formats: list[str] | None = None
) -> dict[str, Exported]:
    """What each exporter of the run wrote, by name; of several, each writes into a folder of its own."""
    from threefusion.registry import build

    chosen = config.exporters
    if formats:
        chosen = {name: replace(cfg, formats=formats) for name, cfg in chosen.items() if hasattr(cfg, "formats")}
    folders = {name: folder / name if len(config.exporters) > 1 else folder for name in chosen}
    return {name: build(cfg).export(scene, renderer, folders[name]) for name, cfg in chosen.items()}


def scores(config: RunConfig, mesh: Mesh | None) -> dict[str, Any] | None:
    """The exported mesh against the exact truth, None where the prompt names no toy-world object."""
    from threefusion.exporter.preview import rasterised_views
    from threefusion.toyworld.score import find_object, score, scoring_cameras

    target = find_object(config.text)
    if target is None or mesh is None:
        return None
    cameras = scoring_cameras()
    views = rasterised_views(mesh, cameras)
    return score(views.mask[..., 0], views.base_color, target, cameras)


def load_scene(run: Path) -> tuple[RunConfig, Scene, Renderer, CameraSampler]:
    """The newest state of a run, ready to be rendered; the prior is not needed.

    Raises:
        UserError: no run there, or nothing saved yet.
    """
    from threefusion.registry import build
    from threefusion.run.checkpoint import read_checkpoint
    from threefusion.system.scene import build_scene, restore_scene

    config = open_run(run)
    checkpoint = latest_checkpoint(run)
    if checkpoint is None:
        raise UserError(f"{run}: the run has saved no checkpoint yet. Resume with: python launch.py train --resume {run}")
    scene, renderer = build_scene(config)
    restore_scene(scene, renderer, read_checkpoint(checkpoint)["state_dict"])
    return config, scene, renderer, build(config.camera)


def render(run: Path, views: int, mode: str, light: str, size: int, out: Path | None) -> Path:
    """Write a turntable of a run as MP4, or as PNG files when `out` is a folder name; returns what was written."""
    from threefusion.callback.images import write_png, write_video
    from threefusion.camera.orbit import evaluation_orbit
    from threefusion.renderer.views import SHADING, render_views

    _, scene, renderer, camera = load_scene(run)
    out = out or run / f"turntable-{mode}{'-relit' if light == 'orbit' else ''}.mp4"
    images = render_views(renderer, scene, evaluation_orbit(camera, views, size, SHADING[mode], light), mode)
    if out.suffix == ".mp4":
        write_video(out, images)
        return out
    out.mkdir(parents=True, exist_ok=True)
    for index, image in enumerate(images):
        write_png(out / f"{index:03d}.png", image)
    return out


def export(run: Path, formats: list[str]) -> list[Path]:
    """Write mesh files of a run again."""
    config, scene, renderer, _ = load_scene(run)
    if not config.exporters:
        raise UserError(f"{run}: the config of this run has no exporter")
    return [path for exported in export_scene(config, scene, renderer, run / "mesh", formats).values() for path in exported.paths]
