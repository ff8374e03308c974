"""Networks on OpenVINO: the same predictions, gradients of the network itself, and a cache that can be trusted."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from threefusion.config.catalogue import settings_class
from threefusion.errors import UserError
from threefusion.guidance.prior import export
from threefusion.guidance.prior.conditioning import Conditioning
from threefusion.guidance.prior.execution import runner
from threefusion.guidance.prior.openvino_network import OpenVINONetwork, import_openvino, network_threads
from threefusion.guidance.prior.settings import PixelConfig
from threefusion.registry import build

ROOT = Path(__file__).parents[2]

try:
    import_openvino()
except UserError as error:
    pytest.skip(str(error), allow_module_level=True)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class Small(torch.nn.Module):
    """A network with a group norm, which is exported in a moment."""

    def __init__(self, width=8):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first, self.norm = torch.nn.Conv2d(3, width, 3, padding=1), torch.nn.GroupNorm(2, width)
            self.last = torch.nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x, shift):
        return self.last(torch.nn.functional.silu(self.norm(self.first(x)))) + shift[:, :, None, None]


def small_inputs(count, seed=0):
    return drawn(count, 3, 8, 8, seed=seed), drawn(count, 3, seed=seed + 1)


@pytest.fixture
def small():
    return Small().requires_grad_(False)


def entries():
    return sorted((export.cache_folder() / "networks").glob("*.openvino"))


def latent(pipelines, **settings):
    return build(settings_class("prior", "latent")(model=str(pipelines["sd-epsilon"]), **{"dtype": "float32"} | settings))


@torch.no_grad()
def predicted(prior, count=2, tokens=(77, 32)):
    times = torch.linspace(0.02, 0.9, count)
    return prior.predict(drawn(count, *prior.shape), times, Conditioning(drawn(count, *tokens, seed=1))).noise


def test_it_predicts_what_torch_does(pipelines):
    expected = predicted(latent(pipelines, execution="eager"))
    assert (predicted(latent(pipelines, execution="openvino")) - expected).norm() < 1e-4 * expected.norm()


def test_bfloat16_costs_no_more_accuracy_than_in_torch():
    exact, eager, exported = (
        predicted(build(PixelConfig(dtype=dtype, execution=name)), tokens=(16, 64))
        for dtype, name in (("float32", "eager"), ("bfloat16", "eager"), ("bfloat16", "openvino"))
    )
    assert (exported - exact).norm() <= 1.1 * (eager - exact).norm()


def test_every_batch_is_made_of_few_sizes(small):
    call = OpenVINONetwork(small, independent=True)
    for count in (1, 3, 5, 8, 11, 27):
        inputs = small_inputs(count)
        torch.testing.assert_close(call(*inputs), small(*inputs), rtol=1e-4, atol=1e-5)
    assert len(entries()) == len({1, 4, 6, 8})


def test_a_batch_whose_items_depend_on_each_other_stays_whole(small):
    call = OpenVINONetwork(small)
    assert call(*small_inputs(11)).shape == (11, 3, 8, 8)
    (shapes,) = call._compiled
    assert shapes[0][0][0] == 11


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_group_norm_from_channel_means_is_torchs_for_images_that_are_far_from_zero(dtype):
    norm = torch.nn.GroupNorm(2, 8)
    torch.nn.init.normal_(norm.weight, generator=torch.Generator().manual_seed(1))
    x = drawn(2, 8, 16, 16) + 5
    with torch.no_grad():
        call = OpenVINONetwork(torch.nn.Sequential(norm).to(dtype))
        expected = norm.float()(x)
        assert (call(x) - expected).norm() < (1e-4 if dtype == torch.float32 else 2e-2) * expected.norm()


@pytest.mark.parametrize("size", [None, (10, 10), (9, 10)])
def test_an_upsampling_and_its_convolution_are_one_transposed_convolution(size):
    from diffusers.models.upsampling import Upsample2D

    upsample = Upsample2D(3, use_conv=True, out_channels=4).requires_grad_(False)
    network = torch.nn.Sequential(upsample)
    x = drawn(2, 3, 5, 5)
    expected = network[0](x, size)
    (fused,) = export.prepared(network)
    assert isinstance(fused, export.FusedUpsample)
    torch.testing.assert_close(fused(x, size), expected, rtol=1e-5, atol=1e-5)
    others = [Upsample2D(3, use_conv_transpose=True), Upsample2D(3), Upsample2D(3, use_conv=True, interpolate=False)]
    assert not any(isinstance(child, export.FusedUpsample) for child in export.prepared(torch.nn.Sequential(*others)))


def test_the_number_of_threads_changes_no_bit(monkeypatch):
    network, results = Small(64).requires_grad_(False).bfloat16(), []
    for threads in ("1", "2"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        assert network_threads() == int(threads)
        results.append(OpenVINONetwork(network)(drawn(4, 3, 32, 32), drawn(4, 3)))
    assert torch.equal(*results)


@pytest.mark.usefixtures("terminal")
def test_the_second_run_reads_what_the_first_has_exported(small, monkeypatch, capsys):
    first = OpenVINONetwork(small)(*small_inputs(2))
    assert capsys.readouterr().err.count("network exported to OpenVINO in") == 1
    monkeypatch.setattr(export, "export", lambda *_: pytest.fail("exported again"))
    assert torch.equal(OpenVINONetwork(small)(*small_inputs(2)), first)
    assert capsys.readouterr().err == ""


def test_another_weight_option_or_identity_is_another_entry(small):
    names = {OpenVINONetwork(small)(*small_inputs(2)) is None or entries()[0].name}
    for network, identity in ((small, "with a scale of 2"), (Small().requires_grad_(False).bfloat16(), "")):
        OpenVINONetwork(network, identity)(*small_inputs(2))
    with torch.no_grad():
        small.last.bias[0] += 1e-6
    OpenVINONetwork(small)(*small_inputs(2))
    assert len(entries()) == 4 and names < {path.name for path in entries()}


@pytest.mark.parametrize("damage", [lambda content: content[:-1] + b"\0", lambda content: content[:100], lambda content: b""])
def test_a_damaged_entry_is_exported_again(small, damage, heard):
    first = OpenVINONetwork(small)(*small_inputs(2))
    (path,) = entries()
    good = path.read_bytes()
    path.write_bytes(damage(good))
    assert torch.equal(OpenVINONetwork(small)(*small_inputs(2)), first)
    assert "its checksum is wrong" in str(heard)
    assert path.read_bytes() != damage(good) and torch.equal(OpenVINONetwork(small)(*small_inputs(2)), first)


def test_a_cache_that_cannot_be_written_costs_time_and_not_the_run(small, tmp_path, monkeypatch, heard):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("THREEFUSION_CACHE", str(tmp_path / "file"))
    result = OpenVINONetwork(small)(*small_inputs(2))
    torch.testing.assert_close(result, small(*small_inputs(2)), rtol=1e-4, atol=1e-5)
    assert "The exported network cannot be kept" in str(heard)


def test_what_is_differentiated_is_the_network_itself(pipelines):
    results = []
    for execution in ("eager", "openvino"):
        image = torch.rand(1, 64, 64, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
        x = latent(pipelines, execution=execution).encode(image)
        results += [(x.detach(), *torch.autograd.grad(x.square().sum(), image))]
    assert all(torch.equal(one, other) for one, other in zip(*results, strict=True))


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
    with pytest.raises(UserError, match=r"openvino is not installed.*python -m pip install openvino  # or .threefusion\[fast\]"):
        predicted(latent(pipelines, execution="openvino"))


def test_the_companion_that_reports_the_import_is_not_loaded():
    assert sys.modules["openvino_telemetry"] is None


SIGNALLED = """
import signal, sys
sys.path.insert(0, sys.argv[1])
from tests.guidance.test_openvino import Small, small_inputs
from threefusion.guidance.prior.openvino_network import OpenVINONetwork
received = []
signal.signal(signal.SIGINT, lambda *_: received.append(1))
networks = [OpenVINONetwork(Small(width)) for width in (8, 16)]
for network in networks:
    network.network.requires_grad_(False)
    network(*small_inputs(2))
del network, networks[0], networks[:]
signal.raise_signal(signal.SIGINT)
print("received", received)
"""


def test_a_signal_is_received_after_networks_have_gone(tmp_path):
    line = [sys.executable, "-X", "faulthandler", "-c", SIGNALLED, str(ROOT)]
    environment = os.environ | {"THREEFUSION_CACHE": str(tmp_path)}
    done = subprocess.run(line, capture_output=True, text=True, check=False, env=environment, cwd=ROOT)
    assert done.stdout == "received [1]\n", (done.returncode, done.stderr)
