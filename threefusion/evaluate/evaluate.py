"""Evaluation of a run or of a mesh."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from threefusion.config import RunConfig, Settings
from threefusion.errors import UserError, first_line
from threefusion.evaluate.candidates import Candidates, listed_candidates, toy_candidates
from threefusion.evaluate.field import color_spread, fidelity, opacity_entropy, render_field
from threefusion.evaluate.independence import BUNDLED_JUDGE, refuse_guiding_model
from threefusion.evaluate.janus import FrontClassifier, janus
from threefusion.evaluate.keys import COST_KEYS, NO_SHAPE, STEP_KEYS, TRUTH_KEYS
from threefusion.evaluate.pathology import mesh_flaws
from threefusion.evaluate.text_image import Judge, JudgeFrontClassifier, load_judge, text_image
from threefusion.evaluate.truth import compare_with_truth
from threefusion.evaluate.views import framing, surface_views
from threefusion.exporter.fidelity import FieldViews
from threefusion.exporter.preview import SurfaceViews, load_exported
from threefusion.geometry.geometry import HasCanvas
from threefusion.machine.files import read_json, write_json
from threefusion.machine.progress import doing
from threefusion.run.exported import ExportedFiles
from threefusion.run.folder import artifacts, latest_checkpoint, open_run, read_report, relative, writing
from threefusion.run.results import exported_mesh
from threefusion.toyworld.captions import find_object
from threefusion.toyworld.objects import ToyObject
from threefusion.toyworld.render import scoring_cameras
from threefusion.types import Mesh

RESULT_FILE = "evaluation.json"
VIEWS = 24
SIZE = 96
"""Height and width of the views for pathologies, the same as of the scoring views."""


@dataclass(frozen=True)
class Evaluation:
    """Options of an evaluation."""

    views: int = VIEWS
    """Number of views for text-image scores, pathologies and fidelity."""
    judge: Judge | None = None
    """CLIP model for the text-image scores; None skips them."""
    captions: list[str] = field(default_factory=list)
    """Candidates for R-precision; if empty, all classes and colours of the toy world, for prompts that name a toy object."""
    front: FrontClassifier | None = None
    """Classifier for the Janus index; None uses the judge."""


def evaluate_run(folder: Path, views: int = VIEWS, clip: Path | None = None, captions: list[str] | None = None) -> dict[str, Any]:
    """Evaluate a run from its folder; the result is also written to RUN/evaluation.json.

    Args:
        folder: the run folder.
        views: number of views for text-image scores, pathologies and fidelity.
        clip: folder with a CLIPModel; None uses the bundled judge, if installed.
        captions: candidates for R-precision, see `Evaluation.captions`.

    Returns:
        Nested dict with fixed keys, whose leaves are numbers, bools, strings or None; docs/evaluation.md defines them:

        - `run`: `folder`, `config`, `prompt`, `seed`, `views`, `judge` (folder or None)
        - the values of `keys.SECTIONS`; `truth` is all None unless the prompt names a toy object
        - `notes`: by section, why values are missing

    Raises:
        UserError: not a run folder, no CLIPModel in `clip`, the model guided the run, or another process is writing to it.
    """
    folder = Path(folder)
    config = open_run(folder)
    judge = choose_judge(clip)
    if judge is not None:
        refuse_guiding_model(config, judge.folder)
    notes = {} if judge else {"text_image": f"no judge: {BUNDLED_JUDGE} does not exist and --clip was not given"}
    with writing(folder):
        result = _sections(folder, config, Evaluation(views, judge, captions or []), notes)
        write_json(folder / RESULT_FILE, result)
    return result


def read_evaluation(folder: Path) -> dict[str, Any] | None:
    """The last result of `evaluate_run`, None if there is none."""
    return read_json(Path(folder) / RESULT_FILE)


def choose_judge(clip: Path | None) -> Judge | None:
    """The judge in folder `clip`, by default the bundled one; None if that is not installed."""
    if clip is None and not BUNDLED_JUDGE.is_dir():
        return None
    return load_judge((clip or BUNDLED_JUDGE).expanduser().resolve())


def evaluate_mesh(
    mesh: Mesh | None, prompt: str, evaluation: Evaluation, seen: FieldViews | None = None
) -> dict[str, dict[str, Any]]:
    """Evaluate a mesh without a run: the sections `text_image`, `truth`, `pathology` and `fidelity`.

    Args:
        mesh: the mesh; None stands for an empty result.
        prompt: its prompt.
        evaluation: options.
        seen: views of the field that the mesh was extracted from.
    """
    if mesh is not None and len(mesh.faces) == 0:
        mesh = None
    target = find_object(prompt)
    judge = evaluation.judge
    front = evaluation.front or (JudgeFrontClassifier(judge) if judge else None)
    scale = framing(mesh) if target is None and mesh is not None else 1.0
    doing("views of the mesh")
    scored, seen_mesh = mesh_views(mesh, target, evaluation.views, scale)
    doing("text-image scores")
    sections = {"text_image": text_image(mesh, judge, candidates(prompt, evaluation.captions), evaluation.views, scale)}
    doing("comparison with the ground truth")
    sections["truth"] = dict.fromkeys(TRUTH_KEYS) if target is None else compare_with_truth(mesh, scored, target)
    doing("pathologies")
    sections["pathology"] = {
        **janus(mesh, target, front),
        **mesh_flaws(mesh, seen_mesh),
        "opacity_entropy": None if seen is None else opacity_entropy(seen),
        "color_spread": None if seen is None or mesh is None else color_spread(mesh, seen),
    }
    doing("fidelity")
    return {**sections, "fidelity": fidelity(mesh, seen)}


def mesh_views(
    mesh: Mesh | None, target: ToyObject | None, views: int, scale: float
) -> tuple[SurfaceViews | None, SurfaceViews | None]:
    """Views of the mesh from the scoring cameras (None without a target) and from `views` cameras, shared if they coincide."""
    if mesh is None:
        return None, None
    scored = None if target is None else surface_views(mesh, scoring_cameras())
    if scored is not None and views == len(scored.mask):
        return scored, scored
    return scored, surface_views(mesh, scoring_cameras(SIZE, views, scale=scale))


def candidates(prompt: str, captions: list[str]) -> tuple[Candidates, Candidates] | None:
    """Candidates for colour and for textureless views; None without a list and without a toy object."""
    if captions:
        listed = listed_candidates(prompt, captions)
        return listed, listed
    target = find_object(prompt)
    return None if target is None else toy_candidates(prompt, target)


def _sections(folder: Path, config: RunConfig, evaluation: Evaluation, notes: dict[str, str]) -> dict[str, Any]:
    """All sections of a run, by name."""
    prompt = config.text
    report = _read_report(folder, notes)
    mesh = _read_mesh(folder, report, config.geometry, notes)
    seen = _read_field(folder, evaluation.views, notes)
    sections = evaluate_mesh(mesh, prompt, evaluation, seen)
    sections["pathology"]["dropped_volume"] = _number(_section(report, "export").get("dropped_volume"))
    if sections["text_image"]["candidates"] is None and mesh is not None:
        notes.setdefault("text_image", "no candidates: the prompt names no toy object; pass --candidates FILE")
    judge = evaluation.judge
    about = {"folder": str(folder), "config": config.name, "prompt": prompt, "seed": config.seed, "views": evaluation.views}
    phases = _section(report, "phase_milliseconds_per_step")
    sections["cost"] = {key: _number(report.get(reported)) for key, reported in COST_KEYS.items()}
    sections["cost"] |= {key: _number(phases.get(key.removesuffix("_ms"))) for key in STEP_KEYS}
    finite = {name: {key: _finite(value) for key, value in values.items()} for name, values in sections.items()}
    return {"run": {**about, "judge": judge and str(judge.folder)}, **finite, "notes": notes}


def _section(report: dict[str, Any], name: str) -> dict[str, Any]:
    """A mapping in report.json, empty where it is null or something else."""
    return value if isinstance(value := report.get(name), dict) else {}


def _number(value: Any) -> int | float | None:
    return value if isinstance(value, int | float) else None


def _finite(value: Any) -> Any:
    """The value, None for inf and NaN, which JSON cannot represent."""
    return None if isinstance(value, float) and not isfinite(value) else value


def _read_report(folder: Path, notes: dict[str, str]) -> dict[str, Any]:
    """The contents of report.json, empty if it cannot be read."""
    report = read_report(folder)
    if report is None:
        notes["cost"] = "report.json: missing or damaged; the run was interrupted, or its folder changed"
    return report or {}


def _read_mesh(folder: Path, report: dict[str, Any], geometry: Settings, notes: dict[str, str]) -> Mesh | None:
    """The exported mesh, None if it cannot be read."""
    listed, path = artifacts(report), exported_mesh(folder, report)
    if not path.is_file():
        notes["mesh"] = "model.glb does not exist: the run was not exported, or its scene is empty"
        return None
    newest = relative(latest_checkpoint(folder), folder)
    if newest and listed.get("checkpoint", newest) != newest:
        notes["mesh"] = f"exported from {listed['checkpoint']}, but the newest is {newest}: resume or export the run"
    if ExportedFiles(folder).is_changed(path):
        notes["mesh"] = f"{path.name} has changed since it was exported"
    try:
        return load_exported(path, geometry)
    except UserError as error:
        notes["mesh"] = str(error)
        return None


def _read_field(folder: Path, views: int, notes: dict[str, str]) -> FieldViews | None:
    """Views of the trained scene, None if the run has none."""
    from threefusion.run.results import load_scene

    try:
        _, scene, renderer, _ = load_scene(folder)
    except UserError as error:
        notes["fidelity"] = str(error)
        return None
    except (RuntimeError, KeyError) as error:  # a readable checkpoint that does not match the config
        problem = f"{type(error).__name__}: {first_line(error)}"
        notes["fidelity"] = f"{latest_checkpoint(folder).name}: cannot be read ({problem})"
        return None
    if isinstance(scene.geometry, HasCanvas):
        notes["fidelity"] = NO_SHAPE
        return None
    doing("views of the scene")
    return render_field(renderer, scene, views)
