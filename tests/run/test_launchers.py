"""Processes of torchrun, srun, mpirun and jsrun: one run, and no hang when one of them is missing, stopped or killed."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from forked import Command

from threefusion.config import load_config
from threefusion.errors import UserError
from threefusion.run import launcher
from threefusion.run.launcher import Launch, find_launch, fitted, friendly_collectives, opened

ROOT = Path(__file__).parents[2]
SRUN = {"SLURM_JOB_ID": "4711", "SLURM_NTASKS": "4", "SLURM_NNODES": "2", "SLURM_PROCID": "3", "SLURM_LOCALID": "1"}
TORCHRUN = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
OPEN_MPI = {f"OMPI_COMM_WORLD_{name}": value for name, value in TORCHRUN.items()} | {
    "OMPI_COMM_WORLD_SIZE": "2",
    "OMPI_COMM_WORLD_LOCAL_SIZE": "2",
}


@pytest.mark.parametrize(
    ("environment", "launch"),
    [
        ({}, None),
        (SRUN, Launch("srun", 1, 1, 2, 4)),
        (SRUN | {"SLURM_STEP_ID": "0", "ENVIRONMENT": "BATCH"}, Launch("srun", 1, 1, 2, 4)),
        # allocations without srun: salloc, its shell as a job step, a batch script
        ({"SLURM_JOB_ID": "4711", "SLURM_NTASKS": "4", "SLURM_NTASKS_PER_NODE": "4"}, None),
        (SRUN | {"SLURM_PROCID": "0", "SLURM_STEP_ID": "4294967290"}, None),
        (SRUN | {"SLURM_PROCID": "0", "ENVIRONMENT": "BATCH"}, None),
        (SRUN | {"SLURM_NTASKS": "1", "SLURM_PROCID": "0"}, None),
        (TORCHRUN, Launch("torchrun", 0, 1, 2, 2)),
        (SRUN | TORCHRUN, Launch("torchrun", 0, 1, 2, 2)),
        (TORCHRUN | {"RANK": "3", "WORLD_SIZE": "4"}, Launch("torchrun", 1, 1, 2, 4)),
        (OPEN_MPI, Launch("mpirun", 0, 1, 2, 2)),
        ({"PMI_RANK": "1", "PMI_SIZE": "2"}, Launch("mpiexec", 0, 1, 2, 2)),
        (SRUN | {"PMI_RANK": "3", "PMI_SIZE": "4"}, Launch("srun", 1, 1, 2, 4)),
        (
            {
                "JSM_NAMESPACE_RANK": "3",
                "JSM_NAMESPACE_SIZE": "4",
                "JSM_NAMESPACE_LOCAL_RANK": "1",
                "JSM_NAMESPACE_LOCAL_SIZE": "2",
            },
            Launch("jsrun", 1, 1, 2, 4),
        ),
        ({"LSB_JOBID": "1", "LSB_DJOB_NUMPROC": "4"}, None),
        # a process that Lightning has started
        (SRUN | {"THREEFUSION_RUN": "run", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}, None),
    ],
)
def test_a_launch_is_recognised_by_the_variables_of_its_processes(environment: dict[str, str], launch: Launch | None) -> None:
    assert find_launch(environment) == launch
    if launch:
        assert launch.rank == int(environment.get("RANK", environment.get("SLURM_PROCID", launch.rank)))


def test_machines_with_different_numbers_of_processes_are_refused() -> None:
    with pytest.raises(UserError, match="srun: 3 processes on 2 machines"):
        find_launch(SRUN | {"SLURM_NTASKS": "3"})


@pytest.mark.parametrize(
    ("settings", "devices", "nodes"),
    [({}, 2, 2), ({"devices": "auto"}, 2, 2), ({"devices": [1, 3]}, [1, 3], 2), ({"devices": "0,1", "num_nodes": 2}, "0,1", 2)],
)
def test_the_launcher_decides_how_many_processes_train(monkeypatch, tiny: Path, settings, devices, nodes) -> None:
    monkeypatch.setattr(launcher, "current_launch", lambda: Launch("srun", 1, 1, 2, 4))
    trainer = replace(load_config(tiny, []).trainer, **settings)
    assert (fitted(trainer).devices, fitted(trainer).num_nodes) == (devices, nodes)
    assert fitted(trainer).arguments()["strategy"] == "ddp_find_unused_parameters_true"


@pytest.mark.parametrize("settings", [{"devices": 4}, {"devices": [0, 1, 2]}, {"devices": 2, "num_nodes": 3}])
def test_other_numbers_of_devices_than_the_launchers_are_refused(monkeypatch, tiny: Path, settings) -> None:
    monkeypatch.setattr(launcher, "current_launch", lambda: Launch("srun", 1, 1, 2, 4))
    with pytest.raises(UserError, match=r"but srun started 2 processes on each of 2"):
        fitted(replace(load_config(tiny, []).trainer, **settings))


def test_several_machines_need_a_launcher(monkeypatch, tiny: Path) -> None:
    monkeypatch.setattr(launcher, "current_launch", lambda: None)
    with pytest.raises(UserError, match=r"trainer.num_nodes: start the processes with torchrun --nnodes=2 or srun"):
        fitted(load_config(tiny, ["trainer.num_nodes=2"]).trainer)


def test_a_job_that_was_restarted_goes_on_with_its_run(monkeypatch, tiny: Path, tmp_path: Path) -> None:
    config, out = load_config(tiny, []), tmp_path / "run"
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    with pytest.raises(UserError, match="give --out"):
        opened(config, None, None)
    with opened(config, out, None):  # it had failed before its folder was made
        (out / "checkpoints" / "step-000005.ckpt").touch()
    with opened(config, out, None) as run:
        assert run == out and (run / "checkpoints" / "step-000005.ckpt").exists()
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    with pytest.raises(UserError, match="not empty"), opened(config, out, None):
        pass


def start(folder: Path, tiny: Path, *words: str, **variables: str) -> Command:
    """A training in a process of its own."""
    return Command("train", "--config", tiny, *words, cwd=folder, **variables)


@pytest.mark.slow
def test_ranks_of_srun_train_one_run_and_those_of_torchrun_resume_it(tiny: Path, tmp_path: Path) -> None:
    job = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_NTASKS": "2"}
    # the first one last
    started = [start(tmp_path, tiny, "trainer.max_steps=2", **job, SLURM_PROCID=rank, SLURM_LOCALID=rank) for rank in "10"]
    for ended in [process.end() for process in started]:
        assert ended.code == 0, ended.errors
    run = tmp_path / "runs" / "tiny" / "a-red-ball-1"
    assert [path.name for path in run.parent.iterdir()] == [run.name]
    assert (run / "metrics.csv").read_text().count("\n") == 3 and (run / "report.json").exists()
    line = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(ROOT / "launch.py")]
    line += ["train", "--resume", str(run), "trainer.max_steps=4"]
    done = subprocess.run(line, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("4 steps in") == 1 and (run / "metrics.csv").read_text().count("\n") == 5
    # the run is not bound to its launcher
    assert load_config(run / "config.yaml", []).trainer.devices == 1


def test_no_process_group_outlives_a_run(tiny: Path, tmp_path: Path) -> None:
    # its threads would run while the interpreter ends: one process in eight was aborted
    code = "import atexit, sys, torch.distributed; atexit.register(lambda: print(torch.distributed.is_initialized()));"
    code += "from threefusion.cli.main import main; sys.exit(main())"
    words = ["train", "--config", str(tiny), "trainer.max_steps=1", "--out", "run"]
    alone = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"}
    with socket.create_server(("127.0.0.1", 0)) as server:
        alone |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(server.getsockname()[1])}
    environment = os.environ | alone | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, *words], env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0 and done.stdout.endswith("False\n"), done.stderr


@pytest.mark.parametrize("rank", [0, 1])
def test_a_folder_that_the_first_rank_cannot_open_ends_all(monkeypatch, tiny: Path, tmp_path: Path, rank: int) -> None:
    sent = []
    monkeypatch.setattr(launcher, "current_launch", lambda: Launch("srun", 0, rank, 2, 2))
    monkeypatch.setattr(launcher, "join", lambda launch, seconds: None)
    monkeypatch.setattr(launcher, "broadcast", lambda text: sent.append(text) or text)
    (tmp_path / "mine").touch()
    with pytest.raises(SystemExit if rank else UserError) as end, launcher.shared_run(load_config(tiny, []), tmp_path, None):
        pass
    assert sent == [launcher.REFUSED]
    assert end.value.code == 2 if rank else "not empty" in str(end.value)


@pytest.mark.slow
def test_an_allocation_without_srun_trains_in_one_process(tiny: Path, tmp_path: Path) -> None:
    variables = {"SLURM_JOB_ID": "4711", "SLURM_NTASKS": "4", "SLURM_JOB_NAME": "train"}
    process = start(tmp_path, tiny, "--out", "run", "trainer.max_steps=1", **variables)
    ended = process.end()
    assert "1 steps" in ended.output and ended.code == 0


@pytest.mark.slow
def test_what_cannot_come_together_is_one_line(tiny: Path, tmp_path: Path) -> None:
    lonely = start(
        tmp_path, tiny, "--out", "a", "trainer.collective_timeout=4", **SRUN | {"SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    )
    unaddressed = start(tmp_path, tiny, "--out", "b", **OPEN_MPI)
    for process, message in (
        (lonely, "error: another process of this job has not answered for 4 s (trainer.collective_timeout)"),
        (unaddressed, "error: mpirun started 2 processes: set MASTER_ADDR and MASTER_PORT, or use torchrun"),
    ):
        ended = process.end()
        errors = ended.errors
        assert ended.code == 2 and errors.splitlines()[-1].startswith(message) and "Traceback" not in errors, errors
    assert not (tmp_path / "a").exists() and not (tmp_path / "b").exists()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("Application timeout caused pair closure", "has not answered for 7 s"),
        ("[gloo/transport/tcp/unbound_buffer.cc:78] Timed out waiting 7000ms for recv operation", "has not answered for 7 s"),
        ("Connection closed by peer", "has ended"),
    ],
)
def test_all_forms_of_a_lost_process_are_known(text: str, reason: str) -> None:
    with pytest.raises(UserError, match=reason), friendly_collectives(7):
        raise RuntimeError(text)
    with pytest.raises(RuntimeError, match="a shape"), friendly_collectives(7):
        raise RuntimeError("a shape")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "seconds", "reason"),
    [(signal.SIGSTOP, 20, r"has not answered for 20 s"), (signal.SIGKILL, 120, "has ended|has not answered|^$")],
)
def test_a_rank_that_is_stopped_or_killed_ends_the_job(
    tiny: Path, tmp_path: Path, number: int, seconds: int, reason: str
) -> None:
    out = tmp_path / "run"
    words = ["trainer.devices=2", "trainer.max_steps=100000", f"trainer.collective_timeout={seconds}"]
    line = [sys.executable, ROOT / "launch.py", "train", "--config", tiny, "--out", out, *words]
    process = subprocess.Popen(line, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not list(out.glob("checkpoints/*.ckpt")):
        assert process.poll() is None
        time.sleep(0.2)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    second = next(int(pid) for pid in children if b"launch.py" in Path(f"/proc/{pid}/cmdline").read_bytes())
    os.kill(second, number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0 and "Traceback" not in errors
    assert re.search(reason, "\n".join(line for line in errors.splitlines() if line.startswith("error: ")))
    status = Path(f"/proc/{second}/stat")
    for _ in range(50):
        if not status.exists() or ") Z " in status.read_text():
            return
        time.sleep(0.1)
    raise AssertionError("the second process has outlived the first")
