"""What comes out of a trained scene: turntable, meshes, scores, the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from threefusion import messages
from threefusion.config import RunConfig, Settings
from threefusion.config.sections import OutputConfig
from threefusion.errors import UserError
from threefusion.machine.progress import counted, doing, progress
from threefusion.machine.video import VIDEOS, write_video
from threefusion.run.exported import ExportedFiles
from threefusion.run.folder import (
    artifacts,
    latest_checkpoint,
    name_lost_checkpoint,
    open_run,
    read_report,
    relative,
    stage_folders,
    write_report,
    writing,
)

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from threefusion.camera.orbit import Light
    from threefusion.camera.sampler import CameraSampler
    from threefusion.exporter.exporter import Exported
    from threefusion.exporter.model import About
    from threefusion.renderer.renderer import Renderer
    from threefusion.renderer.views import Mode
    from threefusion.system.text_to_3d import TextTo3D
    from threefusion.types import Mesh, Scene


def finish(run: Path, config: RunConfig, system: TextTo3D, report: dict[str, Any]) -> None:
    """Turntable, mesh, scores and report of a trained system; the report is written whatever becomes of the mesh.

    Its `warnings` are why the result may not be what was asked for, in sentences.

    Raises:
        UserError: the scene is empty.
    """
    checkpoint = relative(latest_checkpoint(run), run)
    report = report | {"metrics": None, "artifacts": {"mesh": None, "video": None, "checkpoint": checkpoint}}
    try:
        if not config.exporters:
            messages.send(messages.Exported(run, "pictures", (stage_folders(run, config)[-1] / "images",)))
            report["warnings"] = disappointments(config, None)
            return
        files, results = ExportedFiles(run), {}
        # a mesh that an earlier part of the run has exported is not this scene's
        with files.renewing():
            try:
                for name, exported in export_scene(config, system.scene, system.renderer, files):
                    results[name] = exported
                    report |= exports(run, results)
                    report["artifacts"]["mesh"] = relative(main_export(results).paths[0], run)
                    messages.send(messages.Exported(run, "mesh" if len(config.exporters) == 1 else name, tuple(exported.paths)))
            except UserError:  # what cannot be exported can still be looked at
                report["artifacts"]["video"] = film_turntable(config.output, system, None, files)
                raise
            report["artifacts"]["video"] = film_turntable(config.output, system, main_export(results).mesh, files)
        with progress("scores"):
            doing()
            report["metrics"] = scores(config, main_export(results).mesh)
        report["warnings"] = disappointments(config, report["metrics"])
    finally:
        write_report(run, report)


def film_turntable(output: OutputConfig, system: TextTo3D, mesh: Mesh | None, files: ExportedFiles) -> str | None:
    """The name of a video of the exported mesh, or of the field if there is no coloured mesh or the config wants it."""
    from threefusion.camera.orbit import evaluation_orbit
    from threefusion.exporter.preview import is_coloured, mesh_images
    from threefusion.renderer.views import render_views

    if not output.turntable_frames:
        return None
    views = evaluation_orbit(system.camera, output.turntable_frames, output.turntable_size)
    of_mesh = output.turntable == "mesh" and mesh is not None and is_coloured(mesh)
    images = mesh_images(mesh, views) if of_mesh else render_views(system.renderer, system.scene, views)
    with files.folder(files.run) as waiting:
        film(waiting / "turntable.mp4", images, len(views))
    return "turntable.mp4"


def disappointments(config: RunConfig, scores: dict[str, Any] | None) -> list[str]:
    """Why a result may not be what was asked for: the prior knows no object of the prompt, or another class came out."""
    from threefusion.guidance.prior.vocabulary import VocabularyError, unknown_words
    from threefusion.toyworld.score import mismatch

    try:
        unknown_words(config)
    except VocabularyError as error:
        return [f"the result can be anything: {error.problem}"]
    return [sentence for sentence in [scores and mismatch(scores)] if sentence]


def export_scene(
    config: RunConfig, scene: Scene, renderer: Renderer, files: ExportedFiles, changes: Mapping[str, Any] | None = None
) -> Iterator[tuple[str, Exported]]:
    """What each exporter of the run writes into `mesh/`, one after the other; of several, each writes into a folder of its own.

    `changes` are settings that take the place of those in the config.
    """
    from threefusion.registry import build

    about = origin(config)
    for name, cfg in changed(config.exporters, changes or {}).items():
        folder = files.run / "mesh" / (name if len(config.exporters) > 1 else "")
        with files.folder(folder) as waiting, progress("mesh" if len(config.exporters) == 1 else name):
            exporter = build(cfg)
            exporter.about = about
            exported = exporter.export(scene, renderer, waiting)
        yield name, replace(exported, paths=[folder / path.relative_to(waiting) for path in exported.paths])


def changed(exporters: Mapping[str, Settings], changes: Mapping[str, Any]) -> dict[str, Settings]:
    """The exporters with these settings, where they have them. Formats leave out exporters that have no choice of formats.

    Raises:
        UserError: no exporter has a setting, or it does not go with the others.
    """
    for field in changes:
        if not any(hasattr(cfg, field) for cfg in exporters.values()):
            raise UserError(f"--{field.replace('_', '-')}: no exporter of the run has the setting {field!r}")
    chosen = {name: cfg for name, cfg in exporters.items() if "formats" not in changes or hasattr(cfg, "formats")}
    try:
        return {
            name: replace(cfg, **{field: value for field, value in changes.items() if hasattr(cfg, field)})
            for name, cfg in chosen.items()
        }
    except ValueError as error:
        raise UserError(f"exporter.{error}") from error


def origin(config: RunConfig) -> About:
    """The prompt, the seed, and the models that guided the training with their licences."""
    from threefusion.exporter.model import About
    from threefusion.guidance.prior.models import licence_of

    priors = [getattr(objective, "prior", objective) for stage in config.parts for objective in stage.guidance.values()]
    networks = [network for prior in priors for network in (prior, *getattr(prior, "control", ()))]
    names = dict.fromkeys(network.model for network in networks if hasattr(network, "model"))
    return About(config.text, config.seed, tuple(f"{Path(name).name}: {licence_of(name)}" for name in names))


def main_export(results: dict[str, Exported]) -> Exported:
    """The first that has a surface, which is scored and evaluated; else the first."""
    return next((exported for exported in results.values() if exported.mesh is not None), next(iter(results.values())))


def exports(run: Path, results: dict[str, Exported]) -> dict[str, Any]:
    """For report.json: the facts of the main export, and of several exporters the files and facts of each."""
    several = {
        name: {"files": [relative(path, run) for path in exported.paths], **exported.report} for name, exported in results.items()
    }
    return {"export": main_export(results).report} | ({"exports": several} if len(results) > 1 else {})


def scores(config: RunConfig, mesh: Mesh | None) -> dict[str, Any] | None:
    """The exported mesh against the exact truth; None for a user's own shape or if the prompt names no toy-world object."""
    from threefusion.exporter.preview import rasterised_views
    from threefusion.toyworld.score import find_object, score, scoring_cameras

    target = find_object(config.text)
    if target is None or mesh is None or getattr(config.parts[-1].geometry, "mesh", None):
        return None
    cameras = scoring_cameras()
    views = rasterised_views(mesh, cameras)
    return score(views.mask[..., 0], views.base_color, target, cameras)


def load_scene(run: Path) -> tuple[RunConfig, Scene, Renderer, CameraSampler]:
    """The newest state of a run, of its last stage if it has several, ready to be rendered; the prior is not needed.

    Raises:
        UserError: no run there, or nothing saved yet.
    """
    from threefusion.registry import build
    from threefusion.run.checkpoint import load_stage
    from threefusion.system.start import Source

    config = open_run(run)
    name_lost_checkpoint(run)
    reached, source = config, None
    for stage, folder in zip(config.parts, stage_folders(run, config), strict=True):
        if (loaded := load_stage(stage, folder, source)) is None:
            break
        reached, source = stage, Source(*loaded, stage.name)
    if source is None:
        raise UserError(f"{run}: the run has saved no checkpoint yet. Resume with: python launch.py train --resume {run}")
    return config, source.scene, source.renderer, build(reached.camera)


def render(run: Path, views: int, mode: Mode, light: Light, size: int, out: Path | None, mesh: bool = False) -> Path:
    """Film the field of a run, or its exported mesh, into a video or, if `out` names none, a folder of PNG files.

    Raises:
        UserError: there is no mesh, or no trained scene.
    """
    from threefusion.camera.orbit import evaluation_orbit
    from threefusion.exporter.preview import load_exported, mesh_images
    from threefusion.renderer.views import SHADING, render_views

    model = exported_mesh(run, read_report(run) or {})
    if mesh and not model.is_file():
        raise UserError(f"{run}: it has no exported mesh. Export it first: python launch.py export {run}")
    config, scene, renderer, camera = load_scene(run)
    orbit = evaluation_orbit(camera, views, size, SHADING[mode], light)
    if mesh:
        images = mesh_images(load_exported(model, config.geometry), orbit, mode)
    else:
        images = render_views(renderer, scene, orbit, mode)
    out = out or run / f"turntable{'-mesh' * mesh}-{mode}{'-relit' * (light == 'orbit')}.mp4"
    with writing(run) if out.resolve().is_relative_to(run.resolve()) else nullcontext():
        film(out, images, views)
    return out


def film(out: Path, images: Iterator[Float[Tensor, "H W 3"]], count: int) -> None:
    """Write a video, or PNG files into a folder if `out` names no video."""
    from threefusion.callback.images import to_bytes, write_png

    with progress(f"rendering {out.name}"):
        frames = counted(images, count)
        if out.suffix.lower() in VIDEOS and not out.is_dir():
            write_video(out, map(to_bytes, frames))
            return
        out.mkdir(parents=True, exist_ok=True)
        digits = max(3, len(str(count - 1)))  # so that the order of names is that of frames
        for index, image in enumerate(frames):
            write_png(out / f"{index:0{digits}d}.png", image)


def exported_mesh(run: Path, report: dict[str, Any]) -> Path:
    """Where the GLB (or a user's .gltf or .obj) of a run's main export is; what a run without an export has there is its own."""
    named = run / str(artifacts(report).get("mesh", "mesh/model.glb") or "mesh/")
    return named if named.suffix in (".gltf", ".obj") else named.with_suffix(".glb")


def export(run: Path, config: RunConfig, changes: Mapping[str, Any] | None = None) -> list[Path]:
    """Run the exporters of `config` on the newest state of a run, with other settings if any are given.

    Raises:
        UserError: there is no trained scene, or another process is writing to the run.
    """
    _, scene, renderer, _ = load_scene(run)
    with writing(run):
        results = dict(export_scene(config, scene, renderer, ExportedFiles(run), changes))
        report = read_report(run)
        if report is not None and results:
            checkpoint, mesh = latest_checkpoint(run), main_export(results).paths[0]
            paths = {"mesh": relative(mesh, run), "checkpoint": relative(checkpoint, run)}
            write_report(run, report | exports(run, results) | {"artifacts": artifacts(report) | paths})
    return [path for exported in results.values() for path in exported.paths]
