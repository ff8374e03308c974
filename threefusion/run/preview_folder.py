"""A preview: a folder of short trainings of one prompt, one per seed, and which of them goes on. Loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from shlex import quote

from threefusion.config import RunConfig
from threefusion.errors import UserError
from threefusion.machine.files import read_json, write_json
from threefusion.page.facts import SeedFacts
from threefusion.page.preview import as_html, write_grid
from threefusion.run.page import PAGE, put

FILE, GRID = "preview.json", "grid.png"
CONTINUE = "python launch.py train --continue-from"


def preview_steps(config: RunConfig, steps: int | None) -> int:
    """The step of the first stage (or of a run without stages) at which seeds stop; by default after a quarter of it.

    That is rounded to a step that is logged anyway, so that a run that goes on has the metrics of an uninterrupted one.

    Raises:
        UserError: there is no such step before the end of the training.
    """
    first = config.parts[0].trainer
    if steps is None and first.max_steps < 0:
        raise UserError("trainer.max_steps=-1 trains until trainer.max_time: say with --steps how long a preview is")
    logged = first.log_every_n_steps or 1
    chosen = max(first.max_steps // 4 // logged * logged, 1) if steps is None else steps
    if chosen < 1 or 0 <= first.max_steps <= chosen:
        stage = f"stage {config.parts[0].name}" if config.stages else "the training"
        raise UserError(f"--steps {chosen}: expected 1 to {first.max_steps - 1}; {stage} has {first.max_steps} steps")
    return chosen


def write_preview(folder: Path, config: RunConfig, steps: int, seeds: Sequence[SeedFacts], ranked_by: str | None) -> None:
    """Write preview.json, the picture of all seeds, and the page; `seeds` are in the order of the score that ranks them."""
    listed = [{"seed": seed.seed, "run": seed.run.name, "scores": dict(seed.scores)} for seed in seeds]
    content = {"prompt": config.text, "steps": steps, "ranked_by": ranked_by, "seeds": listed}
    write_json(folder / FILE, content)
    write_grid(folder / GRID, seeds, ranked_by)
    about = f"{len(seeds)} seeds after {steps} of {config.trainer.max_steps} steps. Config {config.name}."
    put(
        folder / PAGE,
        "preview",
        as_html(config.text, about, seeds, ranked_by, {seed.seed: f"{CONTINUE} {quote(str(seed.run))}" for seed in seeds}),
    )


def chosen_run(path: Path, seed: int | None) -> Path:
    """The run that `--continue-from PATH [--seed SEED]` names: PATH itself, or that of a seed if PATH is a preview.

    Raises:
        UserError: neither is there, or both or none of them name a seed.
    """
    option = f"--continue-from {path}"
    if not path.is_dir():
        raise UserError(f"{option}: no such folder")
    if not (path / FILE).is_file():
        if path.absolute().name not in read_runs(path.absolute().parent).values():
            other = f". A stopped run goes on with --resume {path}" if (path / "config.yaml").is_file() else ""
            raise UserError(f"{option}: neither a preview nor the run of a seed of one{other}")
        if seed is not None:
            raise UserError(f"--seed {seed}: {path} is the run of one seed. Omit --seed, or name the preview")
        return path
    runs = read_runs(path)
    if not runs:
        raise UserError(f"{path / FILE}: damaged; name the run of a seed, such as {path / 'seed-0'}")
    known = ", ".join(map(str, runs))
    if seed is None:
        raise UserError(f"{option}: a preview of several seeds. Choose one with --seed; best first: {known}")
    if seed not in runs:
        raise UserError(f"--seed {seed}: not in the preview {path}, whose seeds are, best first, {known}")
    return path / runs[seed]


def read_runs(folder: Path) -> dict[int, str]:
    """Run folders of a preview by seed, best first; none if there is no preview or its list is damaged."""
    try:
        return {int(seed["seed"]): str(seed["run"]) for seed in (read_json(folder / FILE) or {})["seeds"]}
    except (KeyError, TypeError, ValueError):
        return {}
