"""The pages in headless Chromium: what is drawn, what keys do, how they fit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from threefusion.page.markup import HERE
from threefusion.run.gallery import write_gallery
from threefusion.run.page import write_page

MODULES = os.environ.get("THREEFUSION_THREE", "")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(
    not MODULES or shutil.which("node") is None or CHROMIUM is None,
    reason="needs node, chromium, and THREEFUSION_THREE naming a folder with three, esbuild and puppeteer-core of npm",
)
MakeRun = Callable[..., Path]


def look(scenario: str, page: Path, out: Path, **variables: str) -> dict[str, Any]:
    """What a user of the page sees."""
    command = ["node", str(Path(__file__).parent / "browser.mjs"), scenario, str(page), str(out), str(CHROMIUM)]
    environment = os.environ | {"NODE_PATH": str(Path(MODULES, "node_modules").absolute())} | variables
    return json.loads(subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE).stdout)


def test_the_bundled_viewer_is_what_its_script_builds(tmp_path: Path) -> None:
    subprocess.run([HERE / "viewer" / "build.sh", tmp_path], check=True)
    for name in ("viewer.min.js", "three.LICENSE"):
        assert (tmp_path / name).read_bytes() == (HERE / "viewer" / name).read_bytes()


def test_a_run_is_shown_turned_and_scrubbed(make_run: MakeRun, tmp_path: Path) -> None:
    seen = look("run", write_page(make_run(tmp_path / "a run #1")), tmp_path)
    assert (seen["troubles"], seen["requests"], seen["state"], seen["overflow"]) == ([], [], "", [0, 0])
    red, green, blue = seen["drawn"]["colour"]["color"]
    assert seen["drawn"]["colour"]["covered"] > 0.05 and red > 3 * max(green, blue)
    red, green, blue = seen["drawn"]["shape"]["color"]
    assert red == green == blue > 50
    assert seen["drawn"]["normals"]["color"] != seen["drawn"]["shaded"]["color"]
    assert seen["turned"] and seen["back"] and seen["video"] == 16
    assert (seen["steps"], seen["pictures"]) == (["step 6", "step 12", "step 18"], 3)
    assert seen["atFirstRow"] == ["3 at 0", "step 6"] and seen["curves"] == ["loss", "sparsity"]
    assert "trainer.max_steps12" in seen["set"] and not any(row.startswith("trainer.num_nodes") for row in seen["set"])
    assert seen["filtered"] == ["trainer.max_steps12"]
    assert seen["title"].startswith("a \"red\" <b>ball</b> & </script><script>alert('x')</script>")


def test_a_gallery_is_sorted_filtered_and_compared(make_run: MakeRun, tmp_path: Path) -> None:
    for index in range(21):
        make_run(
            tmp_path / f"runs/tiny/run-{index}",
            f"seed={index}",
            f"optimizer.lr=0.0{1 + index % 2}",
            iou=0.3 + 0.7 * (index * 8 % 21) / 21,
        )
    no_score = tmp_path / "runs/tiny/run-20/report.json"
    no_score.write_text(
        json.dumps({name: value for name, value in json.loads(no_score.read_text()).items() if name != "metrics"})
    )
    page, count = write_gallery(tmp_path / "runs", tmp_path / "runs/index.html")
    seen = look("gallery", page, tmp_path, WORDS="RUN-1 optimizer.lr=0.02 ball", KEY="seed", VALUE="4")
    assert (seen["troubles"], seen["requests"], seen["overflow"]) == ([], [], [0] * 4) and seen["milliseconds"] < 10_000
    assert count == len(seen["all"]) == len(set(seen["all"])) == len(seen["links"]) == 21
    scored = sorted(range(20), key=lambda index: -(index * 8 % 21))
    assert seen["sorted"]["truth.silhouette_iou"] == [f"tiny/run-{index}" for index in [*scored, 20]]
    assert seen["sorted"]["truth.albedo_error"] == seen["sorted"]["truth.silhouette_iou"]
    by_cost = seen["sorted"]["cost.seconds"]
    assert by_cost[0] == "tiny/run-0" and len(by_cost) == 21
    assert seen["sorted"]["folder"][:3] == ["tiny/run-0", "tiny/run-1", "tiny/run-10"]
    assert seen["reversed"] == [f"tiny/run-{index}" for index in [*reversed(scored), 20]]
    assert set(seen["found"]) == {f"tiny/run-{index}" for index in (1, 11, 13, 15, 17, 19)}
    assert seen["filtered"] == ["tiny/run-4"]
    assert seen["pictures"] == 2
    assert any(row[0] == "Ground truth: silhouette IoU" for row in seen["compared"])
    assert any(row[0] == "seed" for row in seen["compared"]) and not any(
        row[0] == "trainer.max_steps" for row in seen["compared"]
    )
