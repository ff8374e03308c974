"""Every subject in earnest, very small."""

from __future__ import annotations

import json

import pytest
import torch

from threefusion.cli.main import run
from threefusion.cli.perf import TAKES
from threefusion.perf.suite import SUBJECTS, Sizes
from threefusion.perf.timing import on, runnable

SMALL = {"points": ["64", "100"], "batch": ["1", "2"], "resolution": ["8"]}
CASES = {
    "encode": {"forward+backward", "forward", "pull"},
    "march": {"march"},
    "composite": {"forward+backward"},
    "rasterize": {"visibility"},
    "mlp": {"forward+backward", "forward"},
    "step": {"albedo", "analytic normals"},
    "guidance": {"guidance", "network"},
}
PHASES = {"step": {"render", "backward", "optimizer"}}


def small(subject: str) -> list[str]:
    sizes = [word for option in TAKES[subject] for word in ([f"--{option}", *SMALL[option]] if option in SMALL else [])]
    return ["perf", subject, *sizes, "--repetitions", "1"]


@pytest.mark.parametrize("subject", TAKES)
def test_every_subject_runs(subject: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*small(subject), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert {row["case"] for row in data["rows"]} == CASES[subject]
    for row in data["rows"]:
        assert row["subject"] == subject
        assert row["ms"] >= row["min_ms"] > 0
        assert set(row["phases"]) == PHASES.get(subject, set())
        reference = next(
            other for other in data["rows"] if other["name"] == "torch" and all(other[k] == row[k] for k in row_key(row))
        )
        assert row["ratio_to_torch"] == pytest.approx(reference["ms"] / row["ms"], rel=1e-3)
    assert data["hardware"]["cores"] >= 1


def test_guidance_has_its_operations_and_weights() -> None:
    one, two = (list(SUBJECTS["guidance"](Sizes(batch=(batch,)), torch.device("cpu"))) for batch in (1, 2))
    for first, second in zip(one, two, strict=True):
        # 1.35 GFLOP for the two conditions of a view, as on the meta device
        assert first.counts["mflop"] == pytest.approx(1350, rel=0.01) and second.counts["mflop"] == pytest.approx(2700, rel=0.01)
        assert first.counts["weights"] == second.counts["weights"] > 1000


def row_key(row: dict) -> list[str]:
    return [name for name in ("case", "batch", "resolution", "threads") if name in row] + ["points"] * ("points" in row)


def test_points_come_with_every_backend() -> None:
    rows = [(one.name, one.case, one.size["points"]) for one in SUBJECTS["encode"](Sizes(points=(64, 100)), torch.device("cpu"))]
    names = runnable(torch.device("cpu"), "grid")
    assert names[0] == "torch" and len(rows) == 2 * 3 * len(names) == len(set(rows))


def test_the_chosen_backend_computes() -> None:
    from threefusion.ops.backend import chosen_backend

    chosen: list[str] = []
    for name in runnable(torch.device("cpu"), "grid"):
        on(name, lambda: chosen.append(chosen_backend()))(lambda phase: None)
    assert chosen == runnable(torch.device("cpu"), "grid")
    assert runnable(torch.device("cpu"), "no such operation") == ["torch"]
    assert "numba" not in runnable(torch.device("meta"), "grid")


def test_frames_vary_one_size_at_a_time() -> None:
    assert Sizes().frames == [(1, 64), (2, 64), (4, 64), (1, 32), (1, 128)]


def test_threads_are_put_back_and_a_page_is_written(tmp_path, capsys: pytest.CaptureFixture[str]) -> None:
    before = torch.get_num_threads()
    page = tmp_path / "new" / "page.md"
    assert run([*small("composite"), "--threads", "1", "2", "--out", str(page)]) == 0
    assert torch.get_num_threads() == before
    assert capsys.readouterr().out.strip() in page.read_text()
    assert "| 2       | torch" in page.read_text()
    assert "Written by `perf all --out FILE`" in page.read_text()
