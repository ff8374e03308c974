"""Two processes train one network: the same weights in both, and the gradient is the mean of theirs."""

import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from torch.distributed.run import get_args_parser

from threefusion.toyworld.catalogue import CLASSES

ROOT = Path(__file__).parents[2]

SCRIPT = """
import sys
from pathlib import Path
import torch
from training import processes
from training.pixel import PixelRecipe
from training.train import Plan, Trainer
from training.views import ViewStore

folder = Path(sys.argv[1])
recipe = PixelRecipe(widths=(8, 16), batch_size=4)
trainer = Trainer(recipe, ViewStore(folder / "views"), folder / "run", Plan(steps=2, warm_up=1))
assert trainer.recipe.batch_size == 2

layer = torch.nn.Linear(2, 1)
layer.weight.grad, layer.bias.grad = torch.full((1, 2), 1.0 + trainer.rank), torch.full((1,), 10.0 * trainer.rank)
processes.average_gradients(layer.parameters(), 2)
assert layer.weight.grad.tolist() == [[1.5, 1.5]] and layer.bias.grad.tolist() == [5.0]

trainer.run()
torch.save([trainer.recipe.networks.state_dict(), trainer.generator.get_state(), trainer.minutes], folder / f"{trainer.rank}.pt")
"""


def test_torchrun_leaves_every_option_of_the_training_to_it():
    training = ["-m", "training", "train", "pixel"]
    said = subprocess.run([sys.executable, *training[:3], "--help"], cwd=ROOT, capture_output=True, text=True).stdout
    given = [part for option in re.findall(r"^  (--[a-z-]+)", said, re.MULTILINE) for part in (option, "1")]
    assert "--weights" in given and "--threads" in given
    understood = get_args_parser().parse_args(["--nproc-per-node", "2", *training, *given])
    assert [understood.training_script, *understood.training_script_args] == [*training[1:], *given]


def test_two_processes_hold_the_same_weights_and_draw_different_batches(tmp_path):
    (tmp_path / "views").mkdir()
    generator = np.random.default_rng(0)
    np.save(tmp_path / "views" / "views-000.npy", generator.integers(0, 255, (len(CLASSES), 2, 64, 64, 11), dtype=np.uint8))
    np.save(tmp_path / "views" / "views-000.cameras.npy", generator.normal(size=(len(CLASSES), 2, 5)).astype(np.float32))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    running = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(tmp_path)],
            env=os.environ | shared | {"RANK": str(rank), "PYTHONPATH": str(ROOT)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for process in running:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    (first, drew_first, minutes_first), (second, drew_second, minutes_second) = (
        torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2)
    )
    assert all(torch.equal(value, second[name]) for name, value in first.items())
    assert not torch.equal(drew_first, drew_second)
    assert minutes_first == minutes_second
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["state.pt"]
