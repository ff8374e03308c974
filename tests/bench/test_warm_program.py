"""Commands that share a process: each has the result that it has alone, whatever the one before has done."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from threefusion.bench.call import WarmProgram
from threefusion.run.folder import latest_checkpoint, read_report

MESS = """
import json, logging, os, random, signal, sys, warnings
import numpy as np
import torch
from dataclasses import dataclass
from pathlib import Path
from threefusion import register
from threefusion.loss.loss import LossTerm
from threefusion.loss.settings import LossConfig
from threefusion.ops.backend import choose_backend, chosen_backend

REPORTED = ("OMP_NUM_THREADS", "LEFT_BEHIND")

@dataclass(frozen=True)
class MessConfig(LossConfig):
    '''A loss term that reports global state and leaves another.'''
    leaves: bool = False
    '''Whether it changes the state.'''
    file: str = ""
    '''Where it reports.'''

@register("mess")
class Mess(LossTerm):
    def __init__(self, cfg: MessConfig) -> None:
        super().__init__(cfg)

    def on_step(self, step, generator):
        if self.cfg.leaves and step == 5:  # before the step: forward and backward pass belong together
            choose_backend("torch")

    def forward(self, render, views):
        cfg = self.cfg
        if views.step == 0:
            state = {
                "threads": torch.get_num_threads(), "dtype": str(torch.get_default_dtype()),
                "precision": torch.get_float32_matmul_precision(), "deterministic": torch.get_deterministic_debug_mode(),
                "cudnn": torch.backends.cudnn.benchmark, "folder": os.getcwd(), "path": sys.path, "ops": chosen_backend(),
                "level": logging.getLogger().level, "mine": logging.getLogger("threefusion").level,
                "variables": {name: os.environ.get(name) for name in REPORTED}, "arguments": sys.argv[:2],
                "filters": len(warnings.filters), "stream": torch.rand(3).tolist(),
                "handlers": [str(signal.getsignal(signal.SIGUSR1))],
            }
            Path(cfg.file).write_text(json.dumps(state))
            warnings.warn("seen by every command", stacklevel=1)
        value = render.image.square().mean()
        if cfg.leaves and views.step == 5:
            torch.manual_seed(5), torch.set_num_threads(2)
            torch.set_float32_matmul_precision("medium"), torch.use_deterministic_algorithms(True)
            torch.backends.cudnn.benchmark = True
            os.chdir("/"), os.environ.update(LEFT_BEHIND="1"), sys.path.insert(0, "/left")
            logging.getLogger().setLevel(1), logging.getLogger("threefusion").setLevel(50)
            warnings.simplefilter("ignore")
            torch.ones(2**27).sum()
        return value
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Runs of the same config by name: `warm` came after a run that changes what it can, `alone` in a process of its own."""
    folder = tmp_path_factory.mktemp("warm")
    (folder / "plugins" / "mess").mkdir(parents=True)
    (folder / "plugins" / "mess" / "__init__.py").write_text(MESS)
    config = folder / "messy.yaml"
    tiny = Path(__file__).parents[1] / "tiny.yaml"
    config.write_text(f"extends: {tiny}\nloss: {{mess: {{weight: 1}}}}\ntrainer: {{max_steps: 6}}\n")
    files = {name: folder / name for name in ("before", "warm", "alone")}

    def call(program: WarmProgram, name: str, *words: str) -> int:
        (folder / f"{name}.json").touch()
        given = ["train", "--config", str(config), "--out", str(files[name]), f"loss.mess.file={folder / name}.json", *words]
        return program(given, folder / f"{name}.out", folder / f"{name}.err")

    program = WarmProgram()
    assert call(program, "before", "loss.mess.leaves=true", "seed=8") == 0, (folder / "before.err").read_text()
    server = program._server
    assert call(program, "warm") == 0, (folder / "warm.err").read_text()
    assert program._server is server is not None
    program.close()
    program = WarmProgram()
    assert call(program, "alone") == 0, (folder / "alone.err").read_text()
    program.close()
    return files


def test_a_run_in_a_used_process_is_bit_identical(results: dict[str, Path]) -> None:
    warm, alone = (torch.load(latest_checkpoint(results[name]), weights_only=True) for name in ("warm", "alone"))
    assert warm["state_dict"].keys() == alone["state_dict"].keys()
    for name, value in alone["state_dict"].items():
        assert torch.equal(value, warm["state_dict"][name]), name
    for name in ("metrics.csv", "images/000006.png"):
        assert (results["warm"] / name).read_bytes() == (results["alone"] / name).read_bytes()
    commands = [json.loads((results[name] / "environment.json").read_text())["argv"] for name in ("warm", "alone")]
    assert commands[0][:3] == commands[1][:3]


def test_a_used_process_has_the_state_of_a_new_one(results: dict[str, Path]) -> None:
    states = {name: json.loads(path.with_suffix(".json").read_text()) for name, path in results.items()}
    # nothing in a training may depend on the global stream, which begins anywhere
    drawn = {name: state.pop("stream") for name, state in states.items()}
    torch.manual_seed(5)
    assert torch.rand(3).tolist() not in drawn.values()
    assert states["warm"] == states["alone"]
    assert states["warm"]["arguments"][1] == "train"


def test_logs_are_whole(results: dict[str, Path]) -> None:
    for name, path in results.items():
        errors = path.with_suffix(".err").read_text()
        assert errors.count("UserWarning: seen by every command") == 1, name
        assert "step 0/6" in errors
        assert "6 steps in" in path.with_suffix(".out").read_text()


def test_memory_is_that_of_the_run_itself(results: dict[str, Path]) -> None:
    before, warm, alone = (read_report(results[name])["peak_memory_bytes"] for name in ("before", "warm", "alone"))
    assert before > alone + 2**28
    assert abs(warm - alone) < 2**27


def test_a_killed_process_is_replaced(tmp_path: Path) -> None:
    import sys

    code = (
        "import os, signal; from threefusion.bench.program import serve;"
        "serve(lambda words: os.kill(os.getpid(), signal.SIGKILL) if words == ['die'] else print(*words), bool)"
    )
    program = WarmProgram((sys.executable, "-c", code))
    logs = tmp_path / "out", tmp_path / "err"
    assert [program([word], *logs) for word in ("one", "die", "two")] == [0, -9, 0]
    assert logs[0].read_text() == "one\ntwo\n"
    program.close()


@pytest.mark.parametrize(
    ("run", "code", "text"),
    [(lambda: 1 / 0, 1, "ZeroDivisionError"), (lambda: exec("raise SystemExit('no')"), 1, "no"), (lambda: None, 0, "")],
)
def test_exit_codes_are_those_of_a_process(run: Callable, code: int, text: str, capfd: pytest.CaptureFixture) -> None:
    from threefusion.bench.program import code_of

    assert code_of(lambda words: run(), []) == code
    assert text in capfd.readouterr().err
