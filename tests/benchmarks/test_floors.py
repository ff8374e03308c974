"""Floors of every subject, and the probes that they rest on."""

from __future__ import annotations

import json

import pytest
import torch

from benchmarks.floors import probes
from benchmarks.floors.__main__ import main
from benchmarks.floors.floors import as_markdown, covered_pixels, with_floors
from threefusion.camera.projection import clip_coordinates
from threefusion.cli.perf import TAKES
from threefusion.perf.rendering import ball_mesh
from threefusion.perf.report import Report
from threefusion.perf.scene import BALL, fixed_views
from threefusion.perf.timing import Candidate, Timing, plain

SMALL = {"points": ["64"], "batch": ["1"], "resolution": ["8"]}
MACHINE = {"device": "a processor", "cores": 2, "torch": "2", "numba": None, "omp_wait_policy": "PASSIVE"}


@pytest.mark.parametrize("subject", TAKES)
def test_every_subject_has_floors(subject: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(probes, "ROUNDS", 2)
    sizes = [word for option in TAKES[subject] for word in (f"--{option}", *SMALL[option])]
    main([subject, *sizes, "--repetitions", "1", "--json"])
    data = json.loads(capsys.readouterr().out)
    assert data["rows"] and all(row["subject"] == subject and row["case"] != probes.PROBE for row in data["rows"])
    for row in data["rows"]:
        assert row["floor_ms"] > 0
        assert row["ratio_to_floor"] == pytest.approx(row["ms"] / row["floor_ms"], rel=1e-3)
    assert data["rates"][0]["gemm"]["float32"] > 0


def test_a_floor_is_made_of_the_rates_measured_beside_it() -> None:
    report = Report(MACHINE | {"load": None, "clock": "wall"})
    for threads, milliseconds in ((1, 1000.0), (2, 500.0)):
        rates = {"float32": 1e9, "gather": 1e6, "update": 1e6, "copy": 1e9}
        measured = [Candidate(name, probes.PROBE, {}, plain(int), {"amount": int(rate)}) for name, rate in rates.items()]
        # 10 points read 8 corners of 16 levels, and move 4 bytes of 3 coordinates and 32 features
        ours = Candidate("torch", "forward", {"points": 10}, plain(int))
        report.add("encode", threads, [ours, *measured], [Timing(4.0, 3.0), *[Timing(milliseconds, 1.0)] * 4])
    rows, rates = with_floors(report)
    floor = 1000 * (10 * 8 * 16 / 1e6 + 10 * 4 * 35 / 1e9)
    assert [row["floor_ms"] for row in rows] == pytest.approx([floor, floor / 2])
    assert [row["ratio_to_floor"] for row in rows] == pytest.approx([4 / floor, 8 / floor])
    assert [one["threads"] for one in rates] == [1, 2]
    page = as_markdown(report, rows, rates)
    assert "- 1 thread: float32 1 GFLOP/s, gathers 0.00 G/s, updates 0.00 G/s, copy 1.0 GB/s" in page
    assert "x torch | / floor" in page


def test_full_size_needs_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match="timed on a CUDA device, and torch sees none"):
        main(["guidance", "--architecture", "deepfloyd-if-xl"])
    with pytest.raises(SystemExit, match="Did you mean 'deepfloyd-if-xl'"):
        main(["guidance", "--architecture", "deepfloyd-if-x"])


def test_faces_cover_the_disc_twice() -> None:
    vertices, faces = ball_mesh(torch.device("cpu"))
    assert len(faces) == 20480
    camera = fixed_views(1, 256, torch.device("cpu")).camera
    clip = clip_coordinates(vertices, camera)[0]
    # the outline of a ball of radius r at distance d is a disc of radius f r / sqrt(d^2 - r^2)
    outline = 128 / torch.tan(camera.fovy[0] / 2) * BALL / (3.2**2 - BALL**2) ** 0.5
    assert covered_pixels(clip, faces, 256) == pytest.approx(float(2 * torch.pi * outline**2), rel=0.01)


@pytest.mark.parametrize("compiled", [True, False])
def test_probes_do_the_work_that_they_are_credited_with(compiled: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "ROUNDS", 2)
    monkeypatch.setattr(probes, "installed", lambda name: compiled)
    found = {probe.name: probe for probe in probes.probes(torch.device("cpu"))}
    assert {"float32", "gather", "update", "copy"} <= set(found)
    for probe in found.values():
        probe.call(lambda name: None)
        assert probe.counts["amount"] > 0
    assert found["gather"].counts["amount"] == (2 * probes.INDICES if compiled else 2**20)


def test_compiled_probes_touch_every_row_as_often_as_said() -> None:
    import numpy as np

    numba_probes = pytest.importorskip("benchmarks.floors.numba_probes")
    tables, index = np.zeros((1, 4, 2), np.float32), np.array([1, 3, 3], np.int32)
    numba_probes.update(0, 1, tables, index, 5)
    assert tables[0].tolist() == [[0, 0], [5, 5], [0, 0], [10, 10]]
    out = np.zeros(1, np.int64)
    numba_probes.gather(0, 1, np.array([1, 2, 4, 8], np.int64), index, 1, out)
    assert out[0] == 1 ^ 2 ^ 8 ^ 8
