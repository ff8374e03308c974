"""The benchmark on a Ray cluster of two nodes on the loopback: the local pool's table, and nothing left when stopped."""

from __future__ import annotations

import csv
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_cell import COMMAND, at_work

from threefusion.bench.benchmark import run_benchmark
from threefusion.bench.executor import Job
from threefusion.bench.local import LocalExecutor
from threefusion.bench.plan import load_plan
from threefusion.errors import UserError

ray = pytest.importorskip("ray")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """Two nodes with one core each; this process is connected to them."""
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        small = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
        nodes = Cluster(initialize_head=True, head_node_args={**small, "include_dashboard": False})
        nodes.add_node(**small)
        ray.init(address=nodes.address, log_to_driver=False, logging_level="error")
        yield
        ray.shutdown()
        nodes.shutdown()


def rows(out: Path) -> list[dict[str, str]]:
    """The rows of table.csv without what depends on the machine."""
    read = csv.DictReader((out / "table.csv").open(encoding="utf-8"))
    return [{name: value for name, value in row.items() if not name.startswith("cost.")} for row in read]


@pytest.mark.slow
def test_two_nodes_make_the_same_table(
    cluster: None, plan_file: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from threefusion.bench.ray import RayExecutor

    monkeypatch.setenv("FAKE_MENDED", str(tmp_path / "mended"))
    plan = load_plan(plan_file(prompts="[a red ball, a ball that is killed]", variants="{slow: {}}"), [])
    run_benchmark(plan, tmp_path / "ray", RayExecutor(None, plan.threads), command=COMMAND)
    run_benchmark(plan, tmp_path / "local", LocalExecutor([{}]), command=COMMAND)
    assert rows(tmp_path / "ray") == rows(tmp_path / "local")
    assert [row["state"] for row in rows(tmp_path / "ray")] == ["finished", "finished", "failed", "failed"]


@pytest.mark.slow
def test_both_nodes_are_used_and_stopping_leaves_nothing(cluster: None, tmp_path: Path) -> None:
    from threefusion.bench.ray import RayExecutor

    # Each of the first two jobs waits until both of them are there.
    meet = f"import pathlib, time; p = pathlib.Path({str(tmp_path)!r}); (p / N).touch()\n"
    meet += "while len(list(p.glob('m*'))) < 2: time.sleep(.02)"
    jobs = [Job(name, (sys.executable, "-c", meet.replace("N", repr(name))), tmp_path / "log", tmp_path) for name in ("m1", "m2")]
    # a job ends when its parent does, as cells do: where Ray is slow to deliver the cancelling, it kills the parent
    jobs += [Job("long", (sys.executable, "-c", f"import sys; sys.stdin.read() # {tmp_path}"), tmp_path / "log", tmp_path)]
    ending = RayExecutor(None, 1).submit(jobs)
    assert {next(ending).job.name, next(ending).job.name} == {"m1", "m2"}
    began = time.monotonic()
    while not at_work(tmp_path):
        assert time.monotonic() - began < 120
        time.sleep(0.05)
    ending.close()
    # the worker on the other node hears of it a moment later
    began = time.monotonic()
    while left := at_work(tmp_path):
        assert time.monotonic() - began < 120, left
        time.sleep(0.05)


@pytest.mark.slow
def test_a_cell_that_fits_no_machine_is_refused(cluster: None, tmp_path: Path) -> None:
    from threefusion.bench.ray import RayExecutor

    with pytest.raises(UserError, match="no machine of the Ray cluster has 3 cores"):
        next(RayExecutor(None, 3).submit([Job("x", ("true",), tmp_path / "log", tmp_path)]))


def test_without_ray_the_message_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from threefusion.bench.ray import RayExecutor

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UserError, match=r"ray is not installed .* Install it with: python -m pip install ray"):
        RayExecutor(None, 1)
