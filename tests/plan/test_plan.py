"""What is predicted is what a run takes, and predicting changes nothing."""

from __future__ import annotations

import json

import pytest
import pytorch_lightning as pl

from threefusion.cli.main import run
from threefusion.config import load_config
from threefusion.errors import UserError
from threefusion.geometry.density_field import DensityField
from threefusion.guidance.prior import models
from threefusion.plan import scaling
from threefusion.plan.dry_run import DryRun
from threefusion.plan.meter import LiveTensors
from threefusion.plan.plan import predict, predict_with
from threefusion.system.build import build_system

EVERY_RAY_ALIKE = ["renderer.sampler=uniform", "renderer.sampler.samples_per_ray=48", "geometry.encoding.levels=1"]
"""So many samples whatever the scene: the plan's worst case is every step's case."""
EVERY_VIEW_ALIKE = ["camera.distance_range=[2, 2]", "camera.fovy_range_deg=[45, 45]", "camera.center_perturb=0"]
LARGE = ["camera.height=20", "camera.width=20"]


class Weigher(pl.Callback):
    """The most bytes of tensors that each step of a real training makes."""

    def __init__(self) -> None:
        self.most: list[int] = []

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        module.zero_grad(set_to_none=True)
        self.meter = LiveTensors()
        self.meter.__enter__()

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.meter.__exit__(None, None, None)
        self.most.append(max(self.meter.lap()))


def taken_by_steps(config) -> list[int]:
    weigher = Weigher()
    settings = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(accelerator="cpu", max_steps=8, max_epochs=-1, callbacks=[weigher], **settings)
    trainer.fit(build_system(config))
    return weigher.most


@pytest.mark.parametrize("chunk", [10**6, 5000])
def test_a_step_takes_what_was_predicted_within_five_per_cent(tiny, chunk):
    config = load_config(
        tiny, [*EVERY_RAY_ALIKE, *EVERY_VIEW_ALIKE, *LARGE, "trainer.max_steps=8", f"renderer.samples_per_chunk={chunk}"]
    )
    plan = predict(config)
    taken = taken_by_steps(config)
    assert [(stage.stage.first, stage.stage.last) for stage in plan.stages] == [(0, 3), (4, 7)]
    for stage, steps in zip(plan.stages, (taken[1:4], taken[4:]), strict=True):
        most = max(stage.step.render, stage.step.guidance, stage.step.backward)
        assert most == pytest.approx(max(steps), rel=0.05)
        assert plan.peak >= plan.peak_of(stage) >= most + plan.parameters + plan.optimizer


@pytest.mark.parametrize("chunk", [10**6, 10000])
def test_small_steps_tell_what_a_large_one_takes(tiny, chunk, monkeypatch):
    monkeypatch.setattr(scaling, "SMALL_STEPS", (6000, 12000))
    system = build_system(load_config(tiny, [*EVERY_RAY_ALIKE, *LARGE, f"renderer.samples_per_chunk={chunk}"]))
    large = []
    step = DryRun._step
    monkeypatch.setattr(DryRun, "_step", lambda self, batch: large.append(batch.camera.height == 20) or step(self, batch))
    told, whole = (predict_with(system, range(4), most) for most in (2**14, 10**9))
    assert large == [False, False, True]
    assert whole.stages[0].step.samples > 2**15
    for name in ("samples", "kept", "render", "guidance", "backward"):
        assert getattr(told.stages[0].step, name) == pytest.approx(getattr(whole.stages[0].step, name), rel=0.03), name
    assert told.peak == pytest.approx(whole.peak, rel=0.05)


def test_recomputing_lowers_the_prediction(tiny):
    most = [
        predict(load_config(tiny, [*EVERY_RAY_ALIKE, *LARGE, f"renderer.samples_per_chunk={chunk}"])).stages[-1].step
        for chunk in (10**6, 5000)
    ]
    assert most[1].backward < 0.5 * most[0].backward and most[1].samples == most[0].samples


def test_a_stage_that_does_not_fit_is_planned_in_smaller_chunks(tiny, monkeypatch, capfd):
    forward = DensityField.forward

    def awkward(self, points, normals, covariance=None):
        if len(points) > 5000:
            raise MemoryError
        return forward(self, points, normals, covariance)

    monkeypatch.setattr(DensityField, "forward", awkward)
    predict(load_config(tiny, EVERY_RAY_ALIKE))
    assert "out of memory: renderer.samples_per_chunk is" in capfd.readouterr().err


@pytest.fixture
def offline(monkeypatch, tmp_path):
    def fetch(*arguments):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(models, "_fetch", fetch)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))


@pytest.mark.parametrize("prior", ["latent", "pixel"])
def test_a_model_that_is_not_here_is_planned_by_its_shape(tiny, offline, prior, capsys):
    model = {"latent": "stable-diffusion-2-1-base", "pixel": "deepfloyd-if-xl"}[prior]
    words = [f"guidance.prior.type={prior}", f"guidance.prior.model={model}"]
    assert run(["plan", str(tiny), *words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    # 866 and 84 million parameters (Stable Diffusion 2.1), 4305 million (DeepFloyd IF-I-XL), two bytes each
    assert found["prior"] == pytest.approx({"latent": 2 * (865.91e6 + 83.65e6), "pixel": 2 * 4304.7e6}[prior], rel=1e-4)
    assert found["peak"] > found["prior"] + 3e8
    assert "not on this machine" in found["notes"][0]


def test_a_model_of_unknown_shape_is_said_to_be_unknown(tiny, offline, capsys):
    words = ["guidance.prior.type=pixel", "guidance.prior.model=somebody/something"]
    assert run(["plan", str(tiny), *words]) == 0
    page = capsys.readouterr().out
    assert "prior     unknown" in page and "somebody/something is not on this machine and its shape is not known" in page


def test_a_name_that_is_no_model_is_still_a_mistake(tiny):
    with pytest.raises(UserError, match="Did you mean 'stable-diffusion-2-1-base'"):
        run(["plan", str(tiny), "guidance.prior.type=latent", "guidance.prior.model=stable-difusion-2-1-base"])


def test_the_page_says_what_the_data_say(tiny, capsys):
    assert run(["plan", str(tiny), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert run(["plan", str(tiny)]) == 0
    page = capsys.readouterr().out
    assert [(stage["first_step"], stage["last_step"]) for stage in data["stages"]] == [(0, 3), (4, 11)]
    assert all(
        f"steps {stage['first_step']} to {stage['last_step']}: {stage['peak'] / 1e6:.1f} MB" in page for stage in data["stages"]
    )
    assert data["peak"] >= data["program"] + max(stage["peak"] for stage in data["stages"])


def test_small_steps_are_parted_into_as_many_chunks():
    for samples, chunk in ((100000, 30000), (100000, 100000), (100000, 10**6), (2097152, 65536), (65537, 65536), (120000, 1000)):
        for fewer in (15000, 16384, 17001):
            size = scaling.same_chunks(fewer, samples, chunk)
            assert -(-fewer // size) == -(-samples // chunk)
            assert size == pytest.approx(chunk * fewer / samples, rel=0.05, abs=2)
