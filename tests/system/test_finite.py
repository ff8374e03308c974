"""Steps that are not finite are skipped and counted, a run of them stops the training, and nothing non-finite is saved."""

from __future__ import annotations

import csv
import math
import os
from functools import partial
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from forked import command, ranks
from test_step import fit

from threefusion.callback.snapshot import Snapshot
from threefusion.config import load_config
from threefusion.errors import UserError
from threefusion.guidance.prior.gaussian import GaussianPrior
from threefusion.loss.sparsity import Sparsity
from threefusion.optimizer.optimizer import Adam
from threefusion.run.folder import checkpoints, new_run_folder
from threefusion.run.training import train
from threefusion.system.build import build_system
from threefusion.system.finite import PATIENCE, SCALER_PATIENCE
from threefusion.system.text_to_3d import TextTo3D

PLUGINS = f"plugins=[{Path(__file__).parent / 'objectives'}]"
BAD = 2
"""The step that is spoiled."""


class Overflow(torch.autograd.Function):
    """The identity, whose backward pass overflows, as that of an autoencoder in half precision can."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return (1e30 * gradient) * 1e30


def spoiled(method, bad, when):
    """`method`, its result replaced by `bad` of it while `when` holds."""

    def wrapped(self, *arguments):
        result = method(self, *arguments)
        return bad(result) if when() else result

    return wrapped


def one_infinite(x):
    """`x` with one infinite element."""
    x = x.clone()
    x[0, 0, 0, 0] = math.inf
    return x


SPOILS = {
    "a prediction": (GaussianPrior, "_predict", lambda x: x * math.nan, []),
    "one element": (GaussianPrior, "_predict", one_infinite, []),
    "one that a clip would hide": (GaussianPrior, "_predict", one_infinite, ["guidance.grad_clip=1"]),
    "one that a clamp would hide": (GaussianPrior, "_predict", one_infinite, ["guidance.clamp_x0=1"]),
    "an encoder": (GaussianPrior, "encode", lambda x: x * math.inf, []),
    "an encoder's backward pass": (GaussianPrior, "encode", Overflow.apply, []),
    "clipped by value": (
        GaussianPrior,
        "encode",
        Overflow.apply,
        ["trainer.gradient_clip_val=1", "trainer.gradient_clip_algorithm=value"],
    ),
    "the full gradient": (GaussianPrior, "_predict", one_infinite, ["guidance={type: full-gradient, prior: {type: gaussian}}"]),
    "a loss term": (Sparsity, "forward", lambda x: x * math.nan, []),
    "a constant loss term": (Sparsity, "forward", lambda x: (0 * x).detach() + math.inf, []),
    "a critic": (
        torch.nn.Conv2d,
        "forward",
        lambda x: x * math.nan if torch.is_grad_enabled() else x,
        [PLUGINS, "guidance={type: toy-vsd, prior: {type: gaussian}}"],
    ),
    "one of several micro-batches": (GaussianPrior, "_predict", lambda x: x * math.nan, ["trainer.accumulate_grad_batches=3"]),
}


class States(pl.Callback):
    """Parameters and optimiser state after each step."""

    def __init__(self):
        self.states, self.skipped = [], []

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if trainer.global_step == len(self.states) + 1:
            values = [value for value in module.parameters() if value.requires_grad]
            for state in trainer.optimizers[0].state.values():
                values += [value for value in state.values() if torch.is_tensor(value)]
            self.states.append([value.detach().clone() for value in values])
            self.skipped.append(float(module.latest["skipped"]))


def equal(one, other):
    return len(one) == len(other) and all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("what", SPOILS)
def test_a_step_that_is_not_finite_changes_nothing_and_the_next_one_goes_on(what, tiny, tmp_path, monkeypatch, capsys):
    owner, name, bad, overrides = SPOILS[what]
    system = build_system(load_config(tiny, ["trainer.max_steps=5", *overrides]))
    monkeypatch.setattr(owner, name, spoiled(getattr(owner, name), bad, lambda: system.current_step == BAD))
    states = States()
    fit(system, tmp_path, states)
    assert states.skipped == [0, 0, 1, 0, 0]
    assert equal(states.states[BAD], states.states[BAD - 1])
    assert not any(equal(states.states[step], states.states[step - 1]) for step in (1, 3, 4))
    assert all(value.isfinite().all() for value in states.states[-1])
    assert "warning: step 3: " in capsys.readouterr().err


def test_the_first_step_of_all_can_be_skipped_too(tiny, tmp_path, monkeypatch):
    system = build_system(load_config(tiny, ["trainer.max_steps=2"]))
    begun = [value.detach().clone() for value in system.parameters() if value.requires_grad]
    predict = GaussianPrior._predict
    monkeypatch.setattr(GaussianPrior, "_predict", spoiled(predict, lambda x: x * math.nan, lambda: system.current_step == 0))
    states = States()
    fit(system, tmp_path, states)
    assert states.skipped == [1, 0]
    assert equal(states.states[0][: len(begun)], begun) and not any(value.any() for value in states.states[0][len(begun) :])


@pytest.mark.parametrize("rule", [torch.optim.SGD, torch.optim.RMSprop, torch.optim.Adam])
def test_optimisers_that_are_not_fused_skip_too(rule, tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.optim, "Adam", lambda groups, **settings: rule(groups))
    system = build_system(load_config(tiny, ["trainer.max_steps=4"]))
    predict = GaussianPrior._predict
    monkeypatch.setattr(GaussianPrior, "_predict", spoiled(predict, lambda x: x * math.nan, lambda: system.current_step == BAD))
    states = States()
    fit(system, tmp_path, states)
    assert states.skipped == [0, 0, 1, 0]
    assert equal(states.states[BAD], states.states[BAD - 1]) and not equal(states.states[3], states.states[2])


def rows(folder):
    """The rows of metrics.csv."""
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_run_of_them_stops_the_run_saves_what_was_good_and_names_the_remedy(tiny, tmp_path, monkeypatch, capsys):
    config = load_config(tiny, ["trainer.max_steps=60", "output.checkpoint_interval=2", "trainer.log_every_n_steps=5"])
    run = new_run_folder(config, tmp_path / "run")
    predict, steps = GaussianPrior._predict, []
    begin = TextTo3D.begin_step
    monkeypatch.setattr(TextTo3D, "begin_step", lambda self, step: steps.append(step) or begin(self, step))
    with monkeypatch.context() as broken:
        broken.setattr(GaussianPrior, "_predict", spoiled(predict, lambda x: x * math.nan, lambda: steps[-1] >= 6))
        broken.setattr(GaussianPrior, "dtype", torch.float16, raising=False)
        with pytest.raises(UserError) as error:
            train(config, run)
    assert str(error.value) == (
        "step 15: 9 steps in a row were skipped, because these were not finite: guidance. "
        f"Resume with: python launch.py train --resume {run} guidance.prior.dtype=float32"
    )
    assert [(row["step"], float(row["skipped"])) for row in rows(run)] == [("4", 0.0), ("9", 0.8), ("14", 1.0)]
    states = [torch.load(path, weights_only=True)["state_dict"] for path in checkpoints(run)]
    assert len(states) == 2 and all(value.isfinite().all() for state in states for value in state.values())
    assert train(load_config(run / "config.yaml", ["trainer.max_steps=16"]), run) == 0


def test_in_full_precision_there_is_another_remedy(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(GaussianPrior, "_predict", lambda self, z, t, condition: z * math.nan)
    config = load_config(tiny, ["trainer.max_steps=60", "trainer.log_every_n_steps=100"])
    with pytest.raises(UserError, match=rf"step {PATIENCE}: .*Lower optimizer\.lr, or look for a damaged model"):
        train(config, new_run_folder(config, tmp_path / "run"))
    assert [float(row["skipped"]) for row in rows(tmp_path / "run")] == [1]


def test_parameters_that_are_not_finite_are_never_saved(tiny, tmp_path, monkeypatch):
    config = load_config(tiny, ["trainer.max_steps=20", "output.checkpoint_interval=2", "output.keep_checkpoints=1"])
    run = new_run_folder(config, tmp_path / "run")
    scale = Adam.scale
    monkeypatch.setattr(Adam, "scale", lambda self, step: math.inf if step == 4 else scale(self, step))
    with pytest.raises(UserError, match=r"step 6: scene\.\S+ is not finite, so nothing was saved\. Lower optimizer\.lr"):
        train(config, run)
    assert [path.name for path in checkpoints(run)] == ["step-000004.ckpt"]
    state = torch.load(checkpoints(run)[0], weights_only=True)["state_dict"]
    assert all(value.isfinite().all() for value in state.values())


def test_a_state_of_the_optimiser_that_is_not_finite_is_not_saved_either(tiny, tmp_path, monkeypatch):
    system = build_system(load_config(tiny, ["trainer.max_steps=1"]))
    trainer = fit(system, tmp_path)
    next(iter(trainer.optimizers[0].state.values()))["exp_avg_sq"][0] = math.inf
    with pytest.raises(UserError, match="not finite"):
        Snapshot(tmp_path, 1, 1).save(trainer)


def test_a_gradient_scaler_may_take_its_time(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(TextTo3D, "scaled", True)
    monkeypatch.setattr(GaussianPrior, "_predict", lambda self, z, t, condition: z * math.nan)
    config = load_config(tiny, ["trainer.max_steps=60"])
    with pytest.raises(UserError, match=rf"step {SCALER_PATIENCE}: "):
        train(config, new_run_folder(config, tmp_path / "run"))


def broken_in(ranks: str) -> None:
    """Let the prior answer with NaN in the second step of these ranks."""
    begin, predict, steps = TextTo3D.begin_step, GaussianPrior._predict, []
    TextTo3D.begin_step = lambda self, step: steps.append(step) or begin(self, step)
    broken = os.environ.get("LOCAL_RANK", "0") in ranks
    GaussianPrior._predict = lambda *given: predict(*given) * (math.nan if broken and steps[-1] == 1 else 1.0)


@pytest.mark.slow
def test_all_processes_skip_a_step_that_is_bad_in_one(tiny, tmp_path):
    words = ["train", "--config", tiny, "trainer.max_steps=3", "optimizer.eps=1.0", "--out"]
    ended = [command(*words, tmp_path / "one", before=partial(broken_in, "0"))]
    ended += ranks(2, *words, tmp_path / "two", before=partial(broken_in, "1"))
    assert [process.code for process in ended] == [0, 0, 0], [process.errors for process in ended]
    for name in ("one", "two"):
        assert [float(row["skipped"]) for row in rows(tmp_path / name)] == [0, 1, 0]
    one, two = (torch.load(checkpoints(tmp_path / name)[-1], weights_only=True)["state_dict"] for name in ("one", "two"))
    for name in one:
        torch.testing.assert_close(one[name], two[name], rtol=1e-4, atol=1e-6)


def test_what_overflows_in_a_network_is_nan_for_every_objective(tiny, monkeypatch):
    prior = build_system(load_config(tiny, [])).priors[0]
    monkeypatch.setattr(GaussianPrior, "_predict", spoiled(GaussianPrior._predict, one_infinite, lambda: True))
    condition = prior.text_encoder().encode(["a"])
    noise = prior.predict(torch.zeros(1, *prior.shape), torch.full((1,), 0.5), condition).noise
    assert noise[0, 0, 0, 0].isnan() and noise.isnan().sum() == 1
