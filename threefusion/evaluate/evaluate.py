"""One result -> its numbers."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from threefusion.config import RunConfig
from threefusion.errors import UserError
from threefusion.evaluate.candidates import Candidates, listed_candidates, toy_candidates
from threefusion.evaluate.field import color_spread, fidelity, look_at_field, opacity_entropy
from threefusion.evaluate.independence import refuse_guiding_model
from threefusion.evaluate.janus import FrontClassifier, janus
from threefusion.evaluate.keys import COST_KEYS, STEP_KEYS, TRUTH_KEYS
from threefusion.evaluate.pathology import mesh_flaws
from threefusion.evaluate.text_image import Judge, JudgeFrontClassifier, judge_at, text_image
from threefusion.evaluate.truth import against_truth
from threefusion.evaluate.views import framing, surface_views
from threefusion.exporter.fidelity import FieldViews
from threefusion.exporter.preview import SurfaceViews, load_glb
from threefusion.guidance.prior.models import BUNDLED_JUDGE
from threefusion.run.folder import latest_checkpoint, open_run, write_atomically
from threefusion.toyworld.captions import find_object
from threefusion.toyworld.objects import ToyObject
from threefusion.toyworld.render import scoring_cameras
from threefusion.types import Mesh

RESULT_FILE = "evaluation.json"
VIEWS = 24
SIZE = 96
"""Height and width of the pictures in which pathologies are looked for, as of the scoring views."""


@dataclass(frozen=True)
class Evaluation:
    """How results are looked at."""

    views: int = VIEWS
    """Views of pictures for text-image scores, pathologies and fidelity."""
    judge: Judge | None = None
    """Who compares pictures with texts; None leaves those numbers out."""
    captions: list[str] = field(default_factory=list)
    """Candidates for retrieval; none: every class and colour of the toy world, where the prompt names one of them."""
    front: FrontClassifier | None = None
    """Who tells a front, for the Janus index; None is the judge."""


def evaluate_run(folder: Path, views: int = VIEWS, clip: Path | None = None, captions: list[str] | None = None) -> dict[str, Any]:
    """The numbers of a run, read from its folder alone and also written to RUN/evaluation.json.

    `clip` is a folder with a CLIPModel; None is the bundled judge, if there is one. Two levels; every leaf is a number, a bool, a
    string or None, and the keys are always the same, whatever is missing:

    - `run`: `folder`, `config`, `prompt`, `seed`, `views`, `judge` (folder or None)
    - the numbers of `keys.SECTIONS`; `truth` is all None unless the prompt names a toy object
    - `notes`: why a section lacks something, by section; other sections are absent here

    docs/evaluation.md defines each.

    Raises:
        UserError: not a run folder, no CLIP in `clip`, or one that guided the run.
    """
    folder = Path(folder)
    config = open_run(folder)
    judge = choose_judge(clip)
    if judge is not None:
        refuse_guiding_model(config, judge.folder)
    notes = {} if judge else {"text_image": f"no judge: {BUNDLED_JUDGE} is not there, and --clip names no other"}
    result = _looked_at(folder, config, Evaluation(views, judge, captions or []), notes)
    write_atomically(folder / RESULT_FILE, json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    return result


def read_evaluation(folder: Path) -> dict[str, Any] | None:
    """What `evaluate_run` wrote last, None if nothing."""
    path = Path(folder) / RESULT_FILE
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def choose_judge(clip: Path | None) -> Judge | None:
    """The judge that was asked for, the bundled one otherwise, None if that one is not there."""
    if clip is None and not BUNDLED_JUDGE.is_dir():
        return None
    return judge_at((clip or BUNDLED_JUDGE).expanduser().resolve())


def evaluate_mesh(
    mesh: Mesh | None, prompt: str, evaluation: Evaluation, seen: FieldViews | None = None
) -> dict[str, dict[str, Any]]:
    """The sections `text_image`, `truth`, `pathology` and `fidelity` of any mesh, such as the truth itself; no run is needed.

    `seen` are the views of the field that the mesh was made from. A mesh of None is a result that shows nothing.
    """
    if mesh is not None and len(mesh.faces) == 0:
        mesh = None
    thing = find_object(prompt)
    judge = evaluation.judge
    front = evaluation.front or (JudgeFrontClassifier(judge) if judge else None)
    scale = framing(mesh) if thing is None and mesh is not None else 1.0
    scored, seen_mesh = surfaces(mesh, thing, evaluation.views, scale)
    return {
        "text_image": text_image(mesh, judge, candidates(prompt, evaluation.captions), evaluation.views, scale),
        "truth": dict.fromkeys(TRUTH_KEYS) if thing is None else against_truth(mesh, scored, thing),
        "pathology": {
            **janus(mesh, thing, front),
            **mesh_flaws(mesh, seen_mesh),
            "opacity_entropy": None if seen is None else opacity_entropy(seen),
            "color_spread": None if seen is None or mesh is None else color_spread(mesh, seen),
        },
        "fidelity": fidelity(mesh, seen),
    }


def surfaces(
    mesh: Mesh | None, thing: ToyObject | None, views: int, scale: float
) -> tuple[SurfaceViews | None, SurfaceViews | None]:
    """The mesh from the scoring cameras, None without a toy object, and from `views` cameras; once if those are the same."""
    if mesh is None:
        return None, None
    scored = None if thing is None else surface_views(mesh, scoring_cameras())
    if scored is not None and views == len(scored.mask):
        return scored, scored
    return scored, surface_views(mesh, scoring_cameras(SIZE, views, scale=scale))


def candidates(prompt: str, captions: list[str]) -> tuple[Candidates, Candidates] | None:
    """What pictures in colour and textureless ones are to be told apart by; None without a list and without a toy object."""
    if captions:
        listed = listed_candidates(prompt, captions)
        return listed, listed
    thing = find_object(prompt)
    return None if thing is None else toy_candidates(prompt, thing)


def _looked_at(folder: Path, config: RunConfig, evaluation: Evaluation, notes: dict[str, str]) -> dict[str, Any]:
    """All sections of a run."""
    prompt = dict(config.prompt.settings).get("text", "")
    report = _read_report(folder, notes)
    mesh = _read_mesh(folder, report, notes)
    seen = _read_field(folder, evaluation.views, notes)
    sections = evaluate_mesh(mesh, prompt, evaluation, seen)
    sections["pathology"]["dropped_volume"] = (report.get("export") or {}).get("dropped_volume")
    if sections["text_image"]["candidates"] is None and mesh is not None:
        notes.setdefault("text_image", "no candidates: the prompt names no toy object; give a list with --candidates FILE")
    judge = evaluation.judge
    about = {"folder": str(folder), "config": config.name, "prompt": prompt, "seed": config.seed, "views": evaluation.views}
    phases = report.get("phase_milliseconds_per_step") or {}
    sections["cost"] = {own: report.get(theirs) for own, theirs in COST_KEYS.items()}
    sections["cost"] |= {key: phases.get(key.removesuffix("_ms")) for key in STEP_KEYS}
    known = {name: {key: _finite(value) for key, value in values.items()} for name, values in sections.items()}
    return {"run": {**about, "judge": judge and str(judge.folder)}, **known, "notes": notes}


def _finite(value: Any) -> Any:
    """The value, None in place of a number that JSON has no word for."""
    return None if isinstance(value, float) and not isfinite(value) else value


def _read_report(folder: Path, notes: dict[str, str]) -> dict[str, Any]:
    """report.json, empty if the run has none."""
    try:
        return json.loads((folder / "report.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        notes["cost"] = f"report.json: cannot be read ({type(error).__name__})"
        return {}


def _read_mesh(folder: Path, report: dict[str, Any], notes: dict[str, str]) -> Mesh | None:
    """The exported mesh, None if there is none that can be read."""
    path = folder / ((report.get("artifacts") or {}).get("mesh") or "mesh/model.glb")
    if not path.is_file():
        notes["mesh"] = f"{path.name}: not there; the run was not exported, or its scene is empty"
        return None
    try:
        mesh = load_glb(path.with_suffix(".glb"))
    except Exception as error:  # trimesh raises whatever its parsers raise
        notes["mesh"] = f"{path.name}: cannot be read ({type(error).__name__}: {error})"
        return None
    return mesh if len(mesh.faces) else None


def _read_field(folder: Path, views: int, notes: dict[str, str]) -> FieldViews | None:
    """The trained field in some views, None if the run has none."""
    from threefusion.run.results import load_scene

    try:
        scene = load_scene(folder)[1]
    except UserError as error:
        notes["fidelity"] = str(error)
        return None
    except (RuntimeError, KeyError) as error:  # it is whole, and not of this config
        reason = str(error).strip().partition("\n")[0]
        notes["fidelity"] = f"{latest_checkpoint(folder).name}: cannot be read ({type(error).__name__}: {reason})"
        return None
    if not hasattr(scene.geometry, "density"):
        notes["fidelity"] = "the scene is flat: there is no field"
        return None
    return look_at_field(scene, views)
