"""Packages that are not loaded before more of them is needed."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]

PROGRAM = """
import sys
from threefusion.machine.standins import StandIn, use_stand_ins
use_stand_ins()
import pytorch_lightning as pl, torch, torchmetrics
from threefusion.guidance.prior.pixel import PixelPrior
from threefusion.guidance.prior.settings import PixelConfig
from threefusion.guidance.prior.conditioning import Conditioning
import threefusion.run.training, threefusion.run.trainer, threefusion.system.build, threefusion.exporter.mesh

def is_loaded(name):
    return not isinstance(sys.modules[name], StandIn)

weight = torch.nn.Parameter(torch.ones(1))
optimizer = torch.optim.Adam([weight])
weight.sum().backward()
optimizer.step()
prior = PixelPrior(PixelConfig(model="toyworld-pixel"))
image = torch.zeros(1, *prior.shape)
assert prior.predict(image, torch.tensor([0.5]), Conditioning(torch.zeros(1, 16, 64))).noise.shape == image.shape
assert issubclass(torchmetrics.MetricCollection, torch.nn.Module)
wasted = "diffusers transformers peft sympy trimesh scipy.signal scipy.ndimage scipy.sparse scipy.spatial".split()
assert not (loaded := [name for name in wasted if name in sys.modules]), loaded
assert not is_loaded("torch._dynamo") and not is_loaded("torchmetrics")

from lightning_fabric.wrappers import OptimizedModule
assert not isinstance(prior, OptimizedModule)
# a module of the compiler loads all of it, and once
import torch._dynamo.utils
assert is_loaded("torch._dynamo") and torch._dynamo.utils is sys.modules["torch._dynamo.utils"]
assert torch._dynamo.utils.__spec__.name == "torch._dynamo.utils"
compiled = torch.compile(torch.nn.Linear(2, 2), backend="eager")
assert compiled(torch.ones(1, 2)).shape == (1, 2)
assert isinstance(compiled, OptimizedModule) and not isinstance(prior, OptimizedModule)
assert torch._dynamo.disable.__module__.startswith("torch._dynamo")
assert "__dynamo_disable" not in vars(torch.optim.Optimizer.zero_grad.__wrapped__)
optimizer.step()
assert torchmetrics.MeanMetric and is_loaded("torchmetrics") and torchmetrics.Metric is torchmetrics.metric.Metric
print("whole")
"""


def test_a_training_loads_no_package_in_vain_and_all_of_one_that_is_needed() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout == "whole\n", done.stderr
