"""What people read: the Markdown, the page with its pictures, JSON, and the W&B table."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType, SimpleNamespace
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from threefusion.bench.benchmark import write
from threefusion.bench.folder import CellFolder, Record, cell_folder
from threefusion.bench.markdown import as_markdown
from threefusion.bench.plan import Plan, load_plan
from threefusion.bench.report import Report, as_data, headings, make_report
from threefusion.bench.tracking import track
from threefusion.config.sections import CsvConfig, WandbConfig

VOID = {"meta", "img", "br"}


@pytest.fixture
def plan(plan_file: Callable[..., Path]) -> Plan:
    """Two variants x two prompts x five seeds."""
    return load_plan(plan_file(seeds="[0, 1, 2, 3, 4]", columns="[truth.silhouette_iou, cost.seconds]"), [])


@pytest.fixture
def report(plan: Plan, tmp_path: Path) -> Report:
    """All cells finished but two; `fast` is better by 0.1 everywhere."""
    for place, cell in enumerate(plan.cells):
        folder = cell_folder(tmp_path / "out", cell)
        finish(folder, 0.5 + 0.01 * cell.seed + (0.1 if cell.variant == "fast" else 0) + (0.2 if "cube" in cell.prompt else 0))
        if place == 0:
            folder.write_record(Record("failed", attempts=2, reason="RuntimeError: <b>cheese</b> | rind"))
        if place == 1:
            folder.write_record(Record("waiting"))
    return write(plan, tmp_path / "out")


def finish(folder: CellFolder, value: float) -> None:
    """The files of a finished cell."""
    (folder.run / "images").mkdir(parents=True)
    evaluation = {
        "run": {"seed": 1},
        "truth": {"silhouette_iou": value, "found": True, "skill": None},
        "cost": {"seconds": 1234.5},
    }
    (folder.run / "evaluation.json").write_text(json.dumps(evaluation))
    for step, shade in ((200, 0), (400, 255)):
        Image.fromarray(np.full((4, 8, 3), shade, np.uint8)).save(folder.run / "images" / f"{step:06d}.png")
    folder.write_record(Record("finished", True, attempts=1))


def test_headings_are_short_unless_two_would_be_the_same() -> None:
    columns = ["truth.silhouette_iou", "cost.seconds", "fidelity.silhouette_iou"]
    assert headings(columns) == ["truth silhouette iou", "seconds", "fidelity silhouette iou"]


def test_a_prompt_of_two_lines_stays_in_its_row(plan_file: Callable[..., Path], tmp_path: Path) -> None:
    plan = load_plan(plan_file(prompts='["a red ball\\n| at night"]', seeds="[0]"), [])
    page = as_markdown(make_report(plan, tmp_path / "out"))
    assert "| slow | a red ball \\| at night | 0 | waiting |" in page


def test_markdown_holds_means_with_intervals_and_what_differs(report: Report) -> None:
    page = as_markdown(report)
    assert "18 of 20 cells finished, 1 failed, 1 waiting." in page
    # Four or five seeds a prompt, 0.01 apart: s² = (0.0002 + 0.001) / (3 + 5 - 2), t(0.975, 6) = 2.447
    assert "| slow | 8/10 | 0.625 ± 0.013 | 1,234 ± 0 |" in page
    assert "| fast | 10/10 | 0.720 ± 0.012 |" in page
    # All eight shared cells differ by the same amount: 2 of 2^8 sign flips are as far from 0.
    assert "| slow − fast | 8 | **−0.100, p 0.008** |" in page
    assert "- slow, a red ball, seed 0: RuntimeError: <b>cheese</b> | rind" in page


class Structure(HTMLParser):
    """Fails on tags that do not close; collects pictures and links."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_whole_and_needs_nothing_else(report: Report, tmp_path: Path) -> None:
    page = (tmp_path / "out/index.html").read_text(encoding="utf-8")
    found = Structure()
    found.feed(page)
    assert found.open == []
    assert len(found.sources) == 20 and all(source.startswith("data:image/jpeg;base64,") for source in found.sources)
    assert not re.search(r"https?://|@import|<script|url\(", page)
    assert "RuntimeError: <b>cheese</b> | rind" in found.text
    # The newest picture is white.
    import base64
    import io

    picture = Image.open(io.BytesIO(base64.b64decode(found.sources[0].partition(",")[2])))
    assert np.asarray(picture).min() > 250


def test_pictures_link_to_the_pages_of_their_runs(report: Report, plan: Plan, tmp_path: Path) -> None:
    run = cell_folder(tmp_path / "out", plan.cells[2]).run
    (run / "index.html").touch()
    write(plan, tmp_path / "out")
    found = Structure()
    found.feed((tmp_path / "out/index.html").read_text(encoding="utf-8"))
    links = [source for source in found.sources if not source.startswith("data:")]
    assert [tmp_path / "out" / unquote(link) for link in links] == [run / "index.html"]


def test_json_holds_cells_means_and_comparisons(report: Report, tmp_path: Path) -> None:
    data = json.loads(json.dumps(as_data(report, tmp_path / "out")))
    assert len(data["cells"]) == 20 and data["columns"] == ["truth.silhouette_iou", "cost.seconds"]
    assert data["cells"][2]["numbers"]["truth.silhouette_iou"] == pytest.approx(0.52)
    assert Path(data["cells"][2]["run"], "evaluation.json").is_file()
    assert data["variants"]["fast"]["truth.silhouette_iou"]["count"] == 10
    (comparison,) = data["comparisons"]
    assert (comparison["first"], comparison["second"], comparison["p"]) == ("slow", "fast", 2 / 2**8)


def test_the_usual_columns_are_those_that_were_measured(plan_file: Callable[..., Path], tmp_path: Path) -> None:
    plan = load_plan(plan_file(), [])
    for cell in plan.cells:
        finish(cell_folder(tmp_path / "out", cell), 0.5)
    assert make_report(plan, tmp_path / "out").columns == ["truth.silhouette_iou", "cost.seconds"]


def test_before_anything_is_measured_there_is_a_page_already(plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    report = write(plan, tmp_path / "out")
    assert "0 of 20 cells finished, 20 waiting" in as_markdown(report)
    assert "no picture" in (tmp_path / "out/index.html").read_text(encoding="utf-8")


def test_the_table_goes_to_wandb(report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict = {}
    fake = ModuleType("wandb")

    class Table:
        def __init__(self, columns: list[str]) -> None:
            self.columns, self.data = columns, []

        def add_data(self, *row: object) -> None:
            assert len(row) == len(self.columns)
            self.data.append(dict(zip(self.columns, row, strict=True)))

    def init(**options: object) -> SimpleNamespace:
        told.update(options)
        return SimpleNamespace(log=told.update, summary=told, finish=lambda: told.update(finished=True), disabled=True)

    fake.Table, fake.Image, fake.init = Table, lambda path: f"picture {path}", init
    monkeypatch.setitem(sys.modules, "wandb", fake)
    track(report, CsvConfig(), tmp_path)
    assert told == {}
    track(report, WandbConfig(mode="offline", project="p"), tmp_path)
    assert (told["mode"], told["project"], told["name"], told["dir"], told["finished"]) == (
        "offline",
        "p",
        "compare",
        tmp_path,
        True,
    )
    assert told["cells"].columns[6:] == ["truth.silhouette_iou", "truth.found", "cost.seconds", "cost.attempts"]
    first, third = told["cells"].data[0], told["cells"].data[2]
    assert (first["state"], first["truth.silhouette_iou"]) == ("failed", None)
    assert (third["truth.silhouette_iou"], third["truth.found"]) == (pytest.approx(0.52), 1)
    assert third["picture"].endswith("000400.png")
    assert told["fast/truth.silhouette_iou"] == pytest.approx(0.72)


@pytest.mark.slow
def test_the_real_client_takes_the_table(report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_SILENT", "true")
    track(report, WandbConfig(mode="offline"), tmp_path)
    (file,) = tmp_path.glob("wandb/offline-run-*/files/media/table/cells_*.table.json")
    stored = json.loads(file.read_text(encoding="utf-8"))
    assert stored["columns"][:3] == ["variant", "prompt", "seed"] and len(stored["data"]) == 20
