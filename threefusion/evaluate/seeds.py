"""The seeds of a preview, ranked by what the judge sees in them: views of their checkpoints, no mesh is extracted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from threefusion.callback.images import sheet, write_png
from threefusion.config import RunConfig
from threefusion.evaluate.candidates import Candidates
from threefusion.evaluate.evaluate import candidates, choose_judge
from threefusion.evaluate.independence import refuse_guiding_model
from threefusion.evaluate.text_image import Judge, retrieval
from threefusion.evaluate.views import BALL, shaded_field_views
from threefusion.geometry.geometry import HasCanvas
from threefusion.machine.progress import counted, progress
from threefusion.page.facts import SeedFacts
from threefusion.renderer.renderer import Renderer
from threefusion.run.folder import stage_folders
from threefusion.run.page import refresh_page
from threefusion.run.preview_folder import write_preview
from threefusion.run.results import load_scene
from threefusion.run.scene_folder import SceneRun
from threefusion.toyworld.captions import find_object
from threefusion.toyworld.render import scoring_cameras
from threefusion.types import Scene

RANKED_BY = "text_image.similarity"
VIEWS = 24
NO_SCORE = "the bundled judge knows the objects of the toy world alone; name a CLIP model with --clip FOLDER"


def judge_of(config: RunConfig, clip: Path | None) -> Judge | None:
    """The judge for a prompt: the CLIP model in `clip`, or the bundled one if the prompt names an object that it knows.

    Raises:
        UserError: no CLIP model in `clip`, or it guides the run.
    """
    if clip is None and find_object(config.text) is None:
        return None
    judge = choose_judge(clip)
    if judge is not None:
        refuse_guiding_model(config, judge.folder)
    return judge


def rank_seeds(folder: Path, scenes: Sequence[SceneRun], steps: int, judge: Judge | None) -> tuple[list[SeedFacts], str | None]:
    """Draw and score the seeds of a preview after their `steps`, and write preview.json, grid.png and index.html.

    Returns the seeds, best first, or in their order if they have no scores; and the name of the score that ranks them.

    Raises:
        UserError: a checkpoint cannot be read, or the folder cannot be written.
    """
    with progress("scores"):
        seeds = list(counted((facts_of(scene.run, steps, judge) for scene in scenes), len(scenes)))
    ranked_by = RANKED_BY if any(RANKED_BY in seed.scores for seed in seeds) else None
    seeds.sort(key=lambda seed: (-seed.scores.get(RANKED_BY, 0.0), seed.seed))
    for scene in scenes:
        refresh_page(scene.run, scene.config)
    write_preview(folder, scenes[0].config, steps, seeds, ranked_by)
    return seeds, ranked_by


def facts_of(run: Path, steps: int, judge: Judge | None) -> SeedFacts:
    """A seed's picture, which is written into its run if the training has not, and its text-image scores."""
    config, scene, renderer, camera = load_scene(run)
    picture = stage_folders(run, config)[0] / "images" / f"{steps:06d}.png"
    if not picture.is_file():
        write_png(picture, sheet(renderer, scene, camera, config.output.image_size))
    scores = {} if judge is None or isinstance(scene.geometry, HasCanvas) else text_scores(config, scene, renderer, judge)
    return SeedFacts(config.seed, run, picture, scores)


def text_scores(config: RunConfig, scene: Scene, renderer: Renderer, judge: Judge) -> dict[str, float]:
    """Similarity to the prompt and, where there are other captions to choose from, R-precision."""
    prompt = config.text
    scale = 1.0 if find_object(prompt) else scene.geometry.radius / BALL
    color, _ = shaded_field_views(renderer, scene, scoring_cameras(judge.size, VIEWS, scale=scale))
    captions = candidates(prompt, [])
    found = retrieval(judge, color, captions[0] if captions else Candidates([prompt], 0))
    return {f"text_image.{name}": found[name] for name in ("similarity", *(["r_precision"] if captions else []))}
