"""Networks on OpenVINO: the same predictions, and gradients of the network itself."""

import sys

import pytest
import torch

from threefusion.config.catalogue import settings_class
from threefusion.errors import UserError
from threefusion.guidance.prior.conditioning import Conditioning
from threefusion.guidance.prior.execution import runner
from threefusion.guidance.prior.settings import PixelConfig
from threefusion.registry import build

openvino = pytest.importorskip("threefusion.guidance.prior.openvino_network")
try:
    openvino.import_openvino()
except UserError as error:
    pytest.skip(str(error), allow_module_level=True)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def latent(pipelines, **settings):
    return build(settings_class("prior", "latent")(model=str(pipelines["sd-epsilon"]), **{"dtype": "float32"} | settings))


@torch.no_grad()
def predicted(prior, count=2, tokens=(77, 32)):
    times = torch.linspace(0.02, 0.9, count)
    return prior.predict(drawn(count, *prior.shape), times, Conditioning(drawn(count, *tokens, seed=1))).noise


def test_it_predicts_what_torch_does_for_every_batch(pipelines):
    eager, exported = latent(pipelines), latent(pipelines, execution="openvino")
    for count in (2, 1):
        expected = predicted(eager, count)
        assert (predicted(exported, count) - expected).norm() < 1e-4 * expected.norm()


def test_two_runs_predict_the_same_bit_for_bit(pipelines):
    assert torch.equal(*(predicted(latent(pipelines, execution="openvino", dtype="bfloat16")) for _ in range(2)))


def test_bfloat16_costs_no_more_accuracy_than_in_torch():
    exact, eager, exported = (
        predicted(build(PixelConfig(dtype=dtype, execution=name)), tokens=(16, 64))
        for dtype, name in (("float32", "eager"), ("bfloat16", "eager"), ("bfloat16", "openvino"))
    )
    assert (exported - exact).norm() <= 1.1 * (eager - exact).norm()


def test_what_is_differentiated_is_the_network_itself(pipelines):
    found = []
    for execution in ("eager", "openvino"):
        image = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
        x = latent(pipelines, execution=execution).encode(image)
        found += [(x.detach(), *torch.autograd.grad(x.square().sum(), image))]
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_a_trainable_network_is_not_frozen_into_it():
    network = torch.nn.Linear(2, 2)
    call = runner(network, "openvino", torch.device("cpu"))
    x = drawn(1, 2)
    call(x).sum().backward()
    assert network.weight.grad is not None
    with torch.no_grad():
        torch.testing.assert_close(call(x), network(x))


def test_it_is_refused_where_there_is_no_cpu_or_no_package(pipelines, monkeypatch):
    with pytest.raises(UserError, match="openvino runs on the CPU, and this run is on cuda"):
        runner(torch.nn.Identity(), "openvino", torch.device("cuda"))
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UserError, match=r"openvino is not installed.*python -m pip install openvino"):
        predicted(latent(pipelines, execution="openvino"))


def test_the_companion_that_reports_the_import_is_not_loaded():
    assert sys.modules["openvino_telemetry"] is None
