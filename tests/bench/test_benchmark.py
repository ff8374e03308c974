"""From a plan to a table through cells that take a fraction of a second: order, failures, interruption, changed settings."""

from __future__ import annotations

import csv
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_cell import COMMAND, at_work

from threefusion.bench.benchmark import run_benchmark
from threefusion.bench.executor import GRACE_SECONDS
from threefusion.bench.folder import CellFolder, Record, cell_folder, evaluated_with
from threefusion.bench.local import LocalExecutor
from threefusion.bench.plan import load_plan
from threefusion.config import ConfigError
from threefusion.errors import UserError
from threefusion.guidance.prior.models import BUNDLED

ROOT = Path(__file__).parents[2]
TWO = [{"OMP_NUM_THREADS": "1"}] * 2
SCRIPT = f"""
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
sys.argv[0] = "launch.py"
from threefusion.bench import benchmark
benchmark.CELL_COMMAND = {COMMAND!r}
from threefusion.cli.main import main
main(sys.argv[1:])
"""
"""The command line, with cells that need no torch."""


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that mends prompts `that breaks` once it exists."""
    monkeypatch.setenv("FAKE_MENDED", str(tmp_path / "mended"))
    monkeypatch.setenv("FAKE_STEP_SECONDS", "0.002")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return tmp_path / "mended"


def make(file: Path, out: Path, **options: object) -> list[dict[str, str]]:
    """The rows of table.csv after a whole benchmark."""
    run_benchmark(load_plan(file, []), out, LocalExecutor(TWO), command=COMMAND, **options)
    return table(out)


def table(out: Path) -> list[dict[str, str]]:
    """The rows of table.csv."""
    return list(csv.DictReader((out / "table.csv").open(encoding="utf-8")))


def without_cost(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    """Rows as an interruption must leave them."""
    return [{name: value for name, value in row.items() if not name.startswith("cost.")} for row in rows]


@pytest.mark.usefixtures("terminal")
def test_every_cell_becomes_a_row(plan_file: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    rows = make(plan_file(evaluation="{views: 7}"), tmp_path / "out")
    assert [(row["variant"], row["prompt"], row["seed"]) for row in rows] == [
        (variant, prompt, seed) for variant in ("slow", "fast") for prompt in ("a red ball", "a blue cube") for seed in "01"
    ]
    steps = sum(range(13))
    for row in rows:
        lr = {"slow": 0.01, "fast": 0.02}[row["variant"]]
        value = steps * lr * (int(row["seed"]) + 1) * len(row["prompt"]) % 1
        assert float(row["truth.silhouette_iou"]) == pytest.approx(value)
        assert (row["state"], row["truth.geometric_retrieval"], row["cost.attempts"]) == ("finished", "1", "1")
        assert row["pathology.components"] == "7"
        assert not {"pathology.janus", "truth.best_class", "run.seed"} & set(row)
    assert (tmp_path / "out/cells/fast/a-blue-cube-1/run/report.json").exists()
    assert capsys.readouterr().err.count("finished") == 8


def test_a_failure_is_recorded_and_stops_nothing(plan_file: Callable[..., Path], tmp_path: Path, quick: Path) -> None:
    prompts = "[a ball that breaks, a ball that is killed, a ball that is empty, a red ball]"
    file = plan_file(prompts=prompts, variants="{slow: {}}", seeds="[0]")
    rows = {row["prompt"]: row for row in make(file, tmp_path / "out")}
    assert [row["state"] for row in rows.values()] == ["failed", "failed", "finished", "finished"]
    assert rows["a ball that breaks"]["reason"] == "RuntimeError: the network is made of cheese"
    assert rows["a ball that is killed"]["reason"] == "killed by SIGKILL (out of memory?)"
    empty = rows["a ball that is empty"]
    assert (empty["reason"], empty["truth.silhouette_iou"], empty["truth.geometric_retrieval"]) == (
        "error: the scene is empty",
        "",
        "0",
    )
    page = (tmp_path / "out/table.md").read_text(encoding="utf-8")
    assert "2 of 4 cells finished, 2 failed." in page
    assert "- slow, a ball that breaks, seed 0: RuntimeError: the network is made of cheese" in page
    quick.touch()
    again = {row["prompt"]: row for row in make(file, tmp_path / "out")}
    assert (again["a ball that breaks"]["state"], again["a ball that breaks"]["reason"]) == ("finished", "")
    assert again["a ball that breaks"]["cost.attempts"] == "2"
    assert [again[name] for name in ("a ball that is empty", "a red ball")] == [empty, rows["a red ball"]]


def test_what_is_finished_is_kept_and_what_is_new_is_added(plan_file: Callable[..., Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = make(plan_file(seeds="[0]"), out)
    before = {path: path.stat().st_mtime_ns for path in out.glob("cells/*/*/run/evaluation.json")}
    rows = make(plan_file(seeds="[1, 0]"), out)
    assert [row for row in rows if row["seed"] == "0"] == first
    assert {path: path.stat().st_mtime_ns for path in before} == before
    fewer = make(plan_file(seeds="[1]", prompts="[a blue cube]", variants="{fast: {overrides: [optimizer.lr=0.02]}}"), out)
    assert fewer == [row for row in rows if (row["variant"], row["prompt"], row["seed"]) == ("fast", "a blue cube", "1")]


def test_other_settings_are_refused_or_made_anew(plan_file: Callable[..., Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    old = make(plan_file(), out)
    changed = plan_file(variants="{slow: {}, fast: {overrides: [optimizer.lr=0.03]}}")
    with pytest.raises(UserError) as error:
        make(changed, out)
    assert str(error.value) == (
        f"{out}: fast · a red ball · seed 0 and 3 more: run with other settings (optimizer.lr was 0.02, now 0.03). "
        "Use another --out, or --redo to run such cells again"
    )
    assert table(out) == old
    new = make(changed, out, redo=True)
    assert new[:4] == old[:4]
    assert without_cost(new) == without_cost(make(changed, tmp_path / "fresh"))


def test_runs_of_a_prior_that_was_trained_on_are_refused_or_made_anew(plan_file: Callable[..., Path], tmp_path: Path) -> None:
    out, prior = tmp_path / "out", tmp_path / "prior"
    shutil.copytree(BUNDLED / "toyworld-pixel", prior)
    file = plan_file(variants=f"{{own: {{overrides: ['guidance.prior={{type: pixel, model: {prior}}}']}}}}", seeds="[0]")
    old = make(file, out)
    (prior / "README.md").write_text("its card")
    assert make(file, out) == old
    (prior / "unet" / "diffusion_pytorch_model.safetensors").write_bytes(b"trained on")
    with pytest.raises(
        UserError, match=r"own · a red ball · seed 0 and 1 more: run with other settings \(the prior had other weights\)"
    ):
        make(file, out)
    assert table(out) == old
    new = make(file, out, redo=True)
    assert without_cost(new) == without_cost(old) and new != old
    assert make(file, out) == new


def test_another_evaluation_is_made_of_the_same_runs(plan_file: Callable[..., Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    make(plan_file(seeds="[0]"), out)
    trained = {path: path.stat().st_mtime_ns for path in out.glob("cells/*/*/run/report.json")}
    rows = make(plan_file(seeds="[0]", evaluation="{views: 9}"), out)
    assert {row["pathology.components"] for row in rows} == {"9"}
    assert {path: path.stat().st_mtime_ns for path in trained} == trained


def test_a_failed_evaluation_leaves_no_reason_once_it_is_mended(
    plan_file: Callable[..., Path], tmp_path: Path, quick: Path
) -> None:
    file = plan_file(prompts="[a red ball that nobody can judge, a ball that is empty and that nobody can judge]", seeds="[0]")
    failed = make(file, tmp_path / "out")
    assert {(row["state"], row["reason"]) for row in failed} == {("failed", "error: no judge")}
    quick.touch()
    rows = make(file, tmp_path / "out")
    assert {row["state"] for row in rows} == {"finished"}
    assert [row["reason"] for row in rows] == ["", "error: the scene is empty"] * 2


def test_numbers_of_another_evaluation_are_out_of_the_table(plan_file: Callable[..., Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    make(plan_file(seeds="[0]"), out)
    plan = load_plan(plan_file(seeds="[0]", evaluation="{views: 9}"), [])
    run_benchmark(plan, out, LocalExecutor(TWO), command=(sys.executable, "-c", "raise SystemExit('no luck')"))
    rows = table(out)
    assert {row["state"] for row in rows} == {"failed"} and "truth.silhouette_iou" not in rows[0]


def test_candidates_that_were_edited_are_another_evaluation(tmp_path: Path) -> None:
    captions = tmp_path / "captions.txt"
    captions.write_text("a cat\na dog\n")
    before = evaluated_with(["--candidates", str(captions)])
    assert before == evaluated_with(["--candidates", str(captions)])
    captions.write_text("a cat\na dog\na fox\n")
    assert before != evaluated_with(["--candidates", str(captions)])


def test_a_judge_that_is_not_there_is_found_before_anything_starts(plan_file: Callable[..., Path], tmp_path: Path) -> None:
    for option in ("clip", "candidates"):
        file = plan_file(evaluation=f"{{{option}: nowhere}}")
        with pytest.raises(ConfigError, match=rf"evaluation\.{option}: nowhere is not there"):
            load_plan(file, [])


def test_clearing_a_cell_leaves_nothing_of_one_that_was_killed_either(plan_file: Callable[..., Path], tmp_path: Path) -> None:
    folder = cell_folder(tmp_path, load_plan(plan_file(), []).cells[0])
    (folder.run / "checkpoints").mkdir(parents=True)
    (folder.path.with_name(f"{folder.path.name}.old") / "run").mkdir(parents=True)
    folder.clear()
    assert not list(folder.path.parent.iterdir())
    folder.clear()


def test_a_mark_that_was_half_written_is_no_stranger(plan_file: Callable[..., Path], tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / ".benchmark.77.tmp.json").write_text('{"na')
    assert {row["state"] for row in make(plan_file(seeds="[0]"), out)} == {"finished"}


def test_a_half_made_run_without_a_checkpoint_is_begun_anew(plan_file: Callable[..., Path], tmp_path: Path) -> None:
    file, out = plan_file(), tmp_path / "out"
    folder = cell_folder(out, load_plan(file, []).cells[0])
    folder.run.mkdir(parents=True)
    (folder.run / "config.yaml").write_text("seed: 1\nprom")
    (folder.path / "cell.json").write_text('{"state": "run')
    (out / "benchmark.json").touch()
    assert without_cost(make(file, out)) == without_cost(make(file, tmp_path / "fresh"))


@pytest.mark.parametrize("content", ["[]", "{", '{"evaluation": 3}', '{"state": "finished", "unknown": 1}'])
def test_a_record_that_cannot_be_read_is_a_fresh_one(tmp_path: Path, content: str) -> None:
    (tmp_path / "cell.json").write_text(content)
    assert CellFolder(tmp_path).record() == Record()


def test_a_folder_of_something_else_is_left_alone(plan_file: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/precious").touch()
    with pytest.raises(UserError, match="holds no benchmark"):
        make(plan_file(), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["precious"]


def test_prompts_never_share_a_folder(plan_file: Callable[..., Path], tmp_path: Path) -> None:
    plan = load_plan(plan_file(prompts=f"[a-b, a b, A b, 'a b!', 猫, 犬, {'w' * 70}, {'w' * 70} x]"), [])
    folders = {cell_folder(tmp_path, cell).path for cell in plan.cells}
    assert len(folders) == len(plan.cells)
    assert tmp_path / "cells/slow/a-b-0" in folders


def start(file: Path, out: Path, step_seconds: float) -> subprocess.Popen:
    """A benchmark in a process group of its own."""
    words = ["bench", "--config", str(file), "--out", str(out), "--jobs", "2"]
    environment = {**os.environ, "FAKE_STEP_SECONDS": str(step_seconds)}
    return subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *words],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, cwd=out.parent,
    )  # fmt: skip


def wait_until(condition: Callable[[], object], seconds: float = 100) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def steps_made(out: Path) -> int:
    return sum(len(log.read_text().splitlines()) for log in out.glob("cells/*/*/run/steps.log"))


def test_killed_at_random_moments_it_ends_with_the_same_table(plan_file: Callable[..., Path], tmp_path: Path) -> None:
    file, out = plan_file(), tmp_path / "out"
    expected = make(file, tmp_path / "whole")
    moments = random.Random(os.environ.get("PYTEST_XDIST_TESTRUNUID"))
    for longest in (0.1, 0.5, 0.5):  # the first one surely within a run: its 9 steps take 0.02 s each
        process, before = start(file, out, 0.02), steps_made(out)
        wait_until(lambda before=before: steps_made(out) > before)
        time.sleep(moments.uniform(0, longest))
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        wait_until(lambda: not at_work(out))
    rows = make(file, out)
    assert without_cost(rows) == without_cost(expected)
    steps = [[line.split()[0] for line in log.read_text().splitlines()] for log in out.glob("cells/*/*/run/steps.log")]
    assert any(int(row["cost.attempts"]) > 1 for row in rows)
    # A step that was killed between its checkpoint and its log line is the only one that may be missing; none is made twice.
    assert all(len(made) == len(set(made)) >= 9 for made in steps)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_stops_the_runs_and_says_how_to_go_on(number: int, plan_file: Callable[..., Path], tmp_path: Path) -> None:
    file, out = plan_file(), tmp_path / "out"
    process = start(file, out, 0.5)
    wait_until(lambda: len(list(out.glob("cells/*/*/run/checkpoints/*.ckpt"))) == 2)
    began = time.monotonic()
    process.send_signal(number)
    _, errors = process.communicate(timeout=100)
    assert (process.returncode, at_work(out)) == (130, [])
    assert time.monotonic() - began < GRACE_SECONDS
    assert errors == f"stopped. Resume with: python launch.py bench --config {file} --out {out} --jobs 2\n"
    assert {row["state"] for row in table(out)} == {"waiting"}
    assert without_cost(make(file, out)) == without_cost(make(file, tmp_path / "whole"))


def test_two_benchmarks_cannot_be_at_work_in_one_folder(plan_file: Callable[..., Path], tmp_path: Path) -> None:
    file, out = plan_file(), tmp_path / "out"
    process = start(file, out, 0.5)
    try:
        wait_until(lambda: list(out.glob("cells/*/*/run/checkpoints/*.ckpt")))
        with pytest.raises(UserError, match="another benchmark is running there"):
            make(file, out)
    finally:
        process.terminate()
        process.communicate()


def test_exit_codes_and_output(plan_file: Callable[..., Path], tmp_path: Path) -> None:
    file = plan_file(prompts="[a ball that breaks]", variants="{slow: {}}", seeds="[0]")
    process = start(file, tmp_path / "out", 0)
    printed, errors = process.communicate(timeout=100)
    assert process.returncode == 1
    assert printed.rstrip() == (tmp_path / "out/table.md").read_text(encoding="utf-8").rstrip()
    first, last = errors.splitlines()
    assert first == "[1/1] slow · a ball that breaks · seed 0: failed: RuntimeError: the network is made of cheese"
    assert last.startswith("1 of 1 cells failed. After fixing the cause: python launch.py bench --config ")


def test_neither_the_benchmark_nor_a_cell_loads_torch() -> None:
    code = "import sys, threefusion.bench.benchmark, threefusion.bench.cell, threefusion.bench.ray; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "threefusion.bench.html" in loaded
    assert not {"torch", "pytorch_lightning", "diffusers", "ray", "wandb", "PIL"} & set(loaded)


def test_a_job_that_cannot_start_is_a_failed_cell(plan_file: Callable[..., Path], tmp_path: Path) -> None:
    plan = load_plan(plan_file(variants="{slow: {}}", prompts="[a red ball]", seeds="[0]"), [])
    run_benchmark(plan, tmp_path / "out", LocalExecutor(TWO), command=(sys.executable, "-c", "raise SystemExit('no luck')"))
    (row,) = table(tmp_path / "out")
    folder = cell_folder(tmp_path / "out", plan.cells[0])
    assert (row["state"], row["reason"]) == ("failed", f"the cell's process ended with exit code 1; see {folder.output}")
    assert folder.output.read_text() == "no luck\n"


def test_a_cell_that_is_finished_is_not_touched(tmp_path: Path) -> None:
    from threefusion.bench.call import WarmProgram
    from threefusion.bench.cell import CellOptions, run_cell

    folder = CellFolder(tmp_path)
    folder.run.mkdir()
    folder.write_record(Record("finished", True, evaluated_with(["--views", "3"]), attempts=1))
    (folder.run / "evaluation.json").write_text("{}")
    assert run_cell(folder, CellOptions(WarmProgram(("/missing",)), evaluate=("--views", "3"))) == 0
    assert folder.record().attempts == 1


def test_a_judge_that_was_trained_anew_judges_again(tmp_path: Path) -> None:
    folder, judge = CellFolder(tmp_path / "cell"), tmp_path / "judge"
    folder.run.mkdir(parents=True)
    judge.mkdir()
    (folder.run / "evaluation.json").write_text("{}")
    (judge / "model.safetensors").write_bytes(b"first")
    options = ["--views", "4", "--clip", str(judge)]
    folder.write_record(Record("finished", True, evaluated_with(options), attempts=1))
    assert folder.is_finished(options) and not folder.is_finished(["--views", "4"])
    (judge / "README.md").write_text("its card")
    assert folder.is_finished(options)
    (judge / "model.safetensors").write_bytes(b"later")
    assert not folder.is_finished(options)
