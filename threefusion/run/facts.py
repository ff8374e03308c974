"""What the pages show of a run, read from its folder. Loads no torch."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from threefusion.callback.rows import read_rows
from threefusion.config import RunConfig, load_config
from threefusion.config.differences import changed_settings, saved_settings, settings_of
from threefusion.config.document import SHIPPED
from threefusion.errors import UserError
from threefusion.machine.files import numbered, read_json
from threefusion.page.facts import Curve, RunDetails, RunFacts
from threefusion.run.folder import LOCK, artifacts, latest_checkpoint, read_report, writing
from threefusion.run.results import exported_mesh
from threefusion.run.stages import RESUME

MOST_PREVIEWS = 24
"""More are thinned out evenly."""
MOST_POINTS = 400
"""Of a curve; longer ones are averaged."""
SMALLEST_OPACITY = 0.001


def read_facts(run: Path) -> RunFacts:
    """What a gallery shows of a run.

    Raises:
        UserError: its config cannot be read.
    """
    settings, report = saved_settings(run / "config.yaml"), read_report(run) or {}
    begun = run / "environment.json"
    previews = [path for _, folder, _ in stages_of(run) for path in numbered(folder / "images", "*.png")]
    return RunFacts(
        folder=run,
        name=settings.get("name", run.parent.name),
        prompt=settings.get("prompt.text", run.name),
        seed=settings.get("seed", ""),
        state="finished" if "artifacts" in report else "running" if is_running(run) else "stopped",
        begun=(begun if begun.is_file() else run / "config.yaml").stat().st_mtime,
        settings=settings,
        scores=scores_of(run, report),
        warnings=tuple(warnings_of(run, report, settings)),
        picture=previews[-1] if previews else None,
    )


def read_details(run: Path, config: RunConfig | None) -> RunDetails:
    """What a run's own page shows; without its config it says nothing about defaults.

    Raises:
        UserError: its config cannot be read.
    """
    facts, report, environment = read_facts(run), read_report(run) or {}, read_json(run / "environment.json") or {}
    stages = list(stages_of(run))
    base, changes = differences_from_base(environment.get("argv"), config)
    video, mesh = run / str(artifacts(report).get("video") or "turntable.mp4"), exported_mesh(run, report)
    named = (mesh, video, *(run / name for name in ("config.yaml", "metrics.csv", "report.json", "evaluation.json")))
    # a report that names files elsewhere is not this program's
    files = [path for path in named if path.is_file() and path.resolve().is_relative_to(run.resolve())]
    return RunDetails(
        facts,
        previews=tuple(thinned([(first + int(p.stem), p) for _, at, first in stages for p in numbered(at / "images", "*.png")])),
        stages=tuple((name, first) for name, _, first in stages if name),
        curves=tuple(curves_of([(folder / "metrics.csv", first) for _, folder, first in stages])),
        video=video if video in files else None,
        mesh=mesh if mesh in files else None,
        phases=numbers_in(report.get("phase_seconds")),
        base=base,
        changes=changes,
        chosen=changed_settings(config) if config else frozenset(),
        commands=tuple(commands_of(run, environment.get("argv"), facts.state)),
        versions={name: str(version) for name, version in as_mapping(environment.get("versions")).items()},
        files=tuple(files),
    )


def is_running(run: Path) -> bool:
    """Whether another process holds the lock of a run."""
    if not (run / LOCK).exists():
        return False
    try:
        with writing(run):
            return False
    except UserError:
        return True


def stages_of(run: Path) -> Iterator[tuple[str, Path, int]]:
    """Names of the stages, their folders and the steps before them; without stages the run itself, without a name."""
    folders = {folder: folder.name.partition("-") for folder in run.glob("stages/*")}
    stages = sorted((int(number), name, folder) for folder, (number, _, name) in folders.items() if number.isdecimal())
    first = 0
    for _, name, folder in stages:
        yield name, folder, first
        first += int(numbers_in(read_report(folder)).get("steps", 0))
    if not stages:
        yield "", run, 0


def scores_of(run: Path, report: Mapping[str, Any]) -> dict[str, Any]:
    """By `section.key`: those of the report, and of the evaluation if there is one."""
    phases = as_mapping(report.get("phase_milliseconds_per_step"))
    cost = {"iterations": report.get("steps"), **{f"{name}_ms": value for name, value in phases.items()}}
    cost |= {
        key: report[key]
        for key in ("seconds", "iterations_per_second", "peak_memory_bytes", "network_calls", "network_images")
        if key in report
    }
    sections = {"truth": as_mapping(report.get("metrics")), "export": as_mapping(report.get("export")), "cost": cost}
    scores = {f"{section}.{key}": value for section, values in sections.items() for key, value in values.items()}
    for section, values in (read_json(run / "evaluation.json") or {}).items():
        if section not in ("run", "notes", "cost"):
            scores |= {f"{section}.{key}": value for key, value in as_mapping(values).items()}
    return {key: value for key, value in scores.items() if is_score(value)}


def warnings_of(run: Path, report: Mapping[str, Any], settings: Mapping[str, str]) -> Iterator[str]:
    """What the report warns of, and what the metrics show."""
    yield from map(str, report["warnings"] if isinstance(report.get("warnings"), list) else [])
    exports = settings.get("exporter") != "null"
    if exports and "artifacts" in report and artifacts(report).get("mesh") is None and "export" not in report:
        yield "nothing was exported"
    evaluation, written = run / "evaluation.json", run / "report.json"
    if evaluation.is_file() and written.is_file() and evaluation.stat().st_mtime < written.stat().st_mtime:
        yield f"evaluation.json is older than the result. Evaluate again: python launch.py eval {shlex.quote(str(run))}"
    for _, folder, _ in stages_of(run):
        rows, damaged = read_rows(folder / "metrics.csv")
        if damaged:
            yield f"{(folder / 'metrics.csv').relative_to(run)}: lines that are no metrics are left out"
        skipped = sum(float(row.get("skipped") or 0) > 0 for row in rows)
        if skipped:
            yield f"steps whose loss or gradients were not finite were skipped, in {skipped} of {len(rows)} rows of metrics"
        if rows and float(rows[-1].get("opacity") or 1) < SMALLEST_OPACITY:
            yield "the scene has vanished: its opacity is 0"


def curves_of(files: list[tuple[Path, int]]) -> Iterator[Curve]:
    """The columns of metrics.csv, of all stages one after the other; without those that are always 0."""
    rows = [(first + int(row["step"]), row) for path, first in files for row in read_rows(path)[0]]
    for name in dict.fromkeys(name for _, row in rows for name in row if name != "step"):
        points = [(step, float(row[name])) for step, row in rows if row.get(name)]
        points = [point for point in points if math.isfinite(point[1])]
        if any(value for _, value in points):
            size = math.ceil(len(points) / MOST_POINTS)
            parts = [points[start : start + size] for start in range(0, len(points), size)]
            yield Curve(name, [part[-1][0] for part in parts], [sum(value for _, value in part) / len(part) for part in parts])


def differences_from_base(argv: Any, config: RunConfig | None) -> tuple[str, tuple[tuple[str, str, str], ...]]:
    """The config that a command line names, and the settings in which the run differs from it, as it is now."""
    words = [str(word) for word in argv] if isinstance(argv, list) else []
    name = next((after for word, after in pairwise(words) if word == "--config"), "")
    name = next((word.removeprefix("--config=") for word in words if word.startswith("--config=")), name)
    if not name or config is None:
        return "", ()
    # as `configs/quickstart.yaml`, where the run was started in a clone and this is another folder
    shipped = SHIPPED.parent / name
    try:
        before = settings_of(
            load_config(shipped if not Path(name).exists() and shipped.is_file() else Path(name), [], started=True)
        )
    except UserError:
        return "", ()
    now = settings_of(config)
    keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
    return name, tuple((key, before.get(key, "–"), now.get(key, "–")) for key in keys)


def commands_of(run: Path, argv: Any, state: str) -> Iterator[tuple[str, str]]:
    """Commands that repeat a run or go on with it."""
    shown = shlex.quote(str(run))
    if isinstance(argv, list) and argv[1:2] == ["train"]:
        yield "As it was started", f"python launch.py {shlex.join(map(str, argv[1:]))}"
    yield "Repeat it", f"python launch.py train --config {shlex.quote(str(run / 'config.yaml'))}"
    if state == "stopped" and latest_checkpoint(run) is not None:
        yield "Resume it", f"{RESUME} {shown}"
    if state == "finished":
        yield "Evaluate it", f"python launch.py eval {shown}"


def thinned(previews: list[tuple[int, Path]]) -> list[tuple[int, Path]]:
    """At most `MOST_PREVIEWS`, the first and the last among them."""
    last = len(previews) - 1
    chosen = (
        range(len(previews)) if last < MOST_PREVIEWS else [round(i * last / (MOST_PREVIEWS - 1)) for i in range(MOST_PREVIEWS)]
    )
    return [previews[index] for index in chosen]


def is_score(value: Any) -> bool:
    """Whether it is a word or a finite number."""
    return isinstance(value, str | bool) or (isinstance(value, int | float) and math.isfinite(value))


def as_mapping(value: Any) -> Mapping[str, Any]:
    """A mapping of a JSON file; an empty one where the file is damaged."""
    return value if isinstance(value, dict) else {}


def numbers_in(value: Any) -> dict[str, float]:
    """The finite numbers of a mapping of a JSON file."""
    items = as_mapping(value).items()
    return {name: float(number) for name, number in items if isinstance(number, int | float) and math.isfinite(number)}
