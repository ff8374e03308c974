"""`execution: auto`: chosen once per machine, the same after a resume, and never in the way."""

import json
import sys

import pytest
import torch

from threefusion.errors import UserError
from threefusion.guidance.prior import choice, execution
from threefusion.guidance.prior.choice import FIRST_STEP, choose
from threefusion.guidance.prior.conditioning import Conditioning
from threefusion.guidance.prior.execution import runner
from threefusion.guidance.prior.openvino_network import import_openvino
from threefusion.guidance.prior.settings import PixelConfig
from threefusion.machine.checksums import cache_folder
from threefusion.registry import build

try:
    import_openvino()
except UserError as error:
    pytest.skip(str(error), allow_module_level=True)

NETWORK = torch.nn.Conv2d(3, 3, 3).requires_grad_(False)
CPU = torch.device("cpu")


def chosen(times=None, monkeypatch=None):
    if times:
        monkeypatch.setattr(choice, "best_times", lambda *_, **__: dict(zip(("eager", "openvino"), times, strict=True)))
    return choose(NETWORK, (torch.rand(2, 3, 8, 8),), lambda how: runner(NETWORK, how, CPU))[0]


@pytest.mark.parametrize("times, expected", [((2.0, 1.0), "openvino"), ((1.0, 2.0), "eager")])
def test_the_faster_one_is_chosen_and_remembered(times, expected, monkeypatch):
    assert chosen(times, monkeypatch) == expected
    monkeypatch.setattr(choice, "best_times", lambda *_, **__: pytest.fail("measured again"))
    assert chosen() == expected


def test_the_times_are_measured():
    assert chosen() in ("eager", "openvino")
    (path,) = (cache_folder() / "networks").glob("*.json")
    assert all(value > 0 for value in json.loads(path.read_text()).values())


def test_damaged_times_are_measured_again(monkeypatch):
    chosen((1.0, 2.0), monkeypatch)
    (path,) = (cache_folder() / "networks").glob("*.json")
    path.write_text('{"eager": "soon"')
    assert chosen((2.0, 1.0), monkeypatch) == "openvino"


def test_where_nothing_can_be_remembered_the_choice_does_not_depend_on_times(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("THREEFUSION_CACHE", str(tmp_path / "file"))
    assert chosen((1.0, 2.0), monkeypatch) == "openvino"


def test_of_two_processes_both_use_what_the_first_has_measured(tmp_path):
    def measure():
        (tmp_path / "times.json").write_text('{"eager": 1.0, "openvino": 2.0}')  # by the other one, meanwhile
        return {"eager": 2.0, "openvino": 1.0}

    assert choice.remembered(tmp_path / "times.json", measure) == {"eager": 1.0, "openvino": 2.0}


def test_without_the_package_or_with_a_large_network_it_is_torch(monkeypatch):
    monkeypatch.setattr(execution, "LARGEST", 10)
    assert chosen() == "eager"
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert chosen() == "eager"


@pytest.mark.usefixtures("terminal")
def test_a_damaged_installation_is_named_and_torch_goes_on(monkeypatch, capsys):
    monkeypatch.setattr(choice, "find_spec", lambda _: object())
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert chosen() == "eager"
    assert "auto goes on in torch: openvino is not installed" in capsys.readouterr().err


@pytest.fixture
def prior(monkeypatch):
    monkeypatch.setattr(choice, "best_times", lambda *_, **__: {"eager": 2.0, "openvino": 1.0})
    prior = build(PixelConfig(dtype="float32"))
    prior.load()
    network = torch.nn.Conv2d(3, 6, 3, padding=1).requires_grad_(False)
    prior.denoiser = lambda: Plain(network)
    return prior


class Plain(torch.nn.Module):
    """A network in the place of a U-Net, which is exported in a moment."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, z, timesteps, tokens, return_dict):
        return (self.network(z) + timesteps[:, None, None, None] + tokens.mean((1, 2))[:, None, None, None],)


@torch.no_grad()
def at_step(prior, step):
    prior.on_step(step, torch.Generator())
    return prior.predict(torch.rand(2, 3, 32, 32), torch.tensor([0.1, 0.5]), Conditioning(torch.rand(2, 4, 4))).noise


def test_a_prior_chooses_at_a_fixed_step_so_that_short_runs_do_not_wait(prior):
    at_step(prior, FIRST_STEP - 1)
    assert prior.chosen is None and prior.execution == "eager"
    at_step(prior, FIRST_STEP)
    assert prior.chosen == prior.execution == "openvino"


def test_a_prior_that_is_differentiated_does_not_choose(prior):
    prior.on_step(FIRST_STEP, torch.Generator())
    z = torch.rand(2, 3, 32, 32, requires_grad=True)
    prior.predict(z, torch.tensor([0.1, 0.5]), Conditioning(torch.rand(2, 4, 4))).noise.sum().backward()
    assert prior.chosen is None and z.grad is not None


def test_a_resumed_prior_does_what_it_did_before_and_refuses_where_it_cannot(prior, monkeypatch):
    prior.restore_choice("openvino")
    assert prior.execution == "openvino"
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UserError, match=r"runs on OpenVINO.*threefusion\[fast\].*guidance.prior.execution=eager"):
        prior.restore_choice("openvino")
    torch_again = build(PixelConfig(execution="eager"))
    torch_again.restore_choice("openvino")
    assert torch_again.execution == "eager"
