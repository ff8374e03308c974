"""What is measured is what the steps of a real training allocate."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import pytorch_lightning as pl

from threefusion.cli.main import run
from threefusion.config import load_config
from threefusion.errors import UserError
from threefusion.geometry.density_field import DensityField
from threefusion.guidance.prior import models
from threefusion.guidance.prior.settings import LatentConfig, PixelConfig
from threefusion.guidance.settings import SDSConfig
from threefusion.plan.meter import LiveTensors
from threefusion.plan.plan import measure_run, measure_stages
from threefusion.system.build import build_system

EVERY_RAY_ALIKE = ["renderer.sampler=uniform", "renderer.sampler.samples_per_ray=48", "geometry.encoding.levels=1"]
"""The same number of samples whatever the scene: the worst case is every step's case."""
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
        self.most.append(self.meter.lap())


def taken_by_steps(config) -> list[int]:
    weigher = Weigher()
    settings = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = pl.Trainer(accelerator="cpu", max_steps=8, max_epochs=-1, callbacks=[weigher], **settings)
    trainer.fit(build_system(config))
    return weigher.most


@pytest.mark.parametrize("chunk", [10**6, 5000])
def test_a_step_of_a_training_allocates_what_was_measured_within_five_per_cent(tiny, chunk):
    config = load_config(
        tiny, [*EVERY_RAY_ALIKE, *EVERY_VIEW_ALIKE, *LARGE, "trainer.max_steps=8", f"renderer.samples_per_chunk={chunk}"]
    )
    plan = measure_run(config)
    taken = taken_by_steps(config)
    assert [(one.phase.first, one.phase.last) for one in plan.phases] == [(0, 3), (4, 7)]
    for one, steps in zip(plan.phases, (taken[1:4], taken[4:]), strict=True):
        assert one.peak == pytest.approx(max(steps), rel=0.05)
        assert plan.tensors >= one.peak + plan.parameters + plan.gradients + plan.optimizer
    assert plan.peak >= plan.resident > plan.tensors


def test_recomputing_lowers_the_peak_of_the_backward_pass(tiny):
    most = [
        measure_run(load_config(tiny, [*EVERY_RAY_ALIKE, *LARGE, f"renderer.samples_per_chunk={chunk}"])).phases[-1]
        for chunk in (10**6, 5000)
    ]
    assert most[1].backward < 0.5 * most[0].backward and most[1].render < 0.5 * most[0].render


def test_a_phase_that_does_not_fit_is_measured_in_smaller_chunks(tiny, monkeypatch, capfd):
    forward = DensityField.forward

    def failing(self, points, normals, covariance=None):
        if len(points) > 5000:
            raise MemoryError
        return forward(self, points, normals, covariance)

    monkeypatch.setattr(DensityField, "forward", failing)
    measure_run(load_config(tiny, EVERY_RAY_ALIKE))
    assert "out of memory: retrying with renderer.samples_per_chunk=" in capfd.readouterr().err


def test_without_an_exporter_no_turntable_is_measured(tiny):
    small, large = (
        measure_run(load_config(tiny, ["output.image_size=8", "output.turntable_size=64", *more]))
        for more in (["exporter=null"], ["exporter=mesh"])
    )
    assert small.image < large.image


@pytest.fixture
def offline(monkeypatch, tmp_path):
    def fetch(*arguments):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(models, "_fetch", fetch)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))


@pytest.mark.parametrize("prior", ["latent", "pixel"])
def test_the_weights_of_a_missing_model_are_counted(tiny, offline, prior, capsys):
    model = {"latent": "stable-diffusion-2-1-base", "pixel": "deepfloyd-if-xl"}[prior]
    words = [f"guidance.prior.type={prior}", f"guidance.prior.model={model}"]
    assert run(["plan", str(tiny), *words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    # 866 and 84 million parameters (Stable Diffusion 2.1), 4305 million (DeepFloyd IF-I-XL), two bytes each
    assert found["prior"] == pytest.approx({"latent": 2 * (865.91e6 + 83.65e6), "pixel": 2 * 4304.7e6}[prior], rel=1e-4)
    assert found["prior"] < found["peak"] < found["prior"] + 3e8
    assert found["resident"] is found["free"] is None
    assert "not on this machine" in found["notes"][0]


def test_the_weights_of_an_unknown_model_are_unknown(tiny, offline, capsys):
    words = ["guidance.prior.type=pixel", "guidance.prior.model=somebody/something"]
    assert run(["plan", str(tiny), *words]) == 0
    page = capsys.readouterr().out
    assert "prior     unknown" in page and "somebody/something is not on this machine and its size is unknown" in page


def test_the_priors_of_all_objectives_are_counted(tiny, offline):
    """Two objectives share the bundled prior, a third has a model that is not here."""
    bundled, other = SDSConfig(prior=PixelConfig()), SDSConfig(prior=LatentConfig(model="stable-diffusion-2-1-base"))
    one, two, three = (
        measure_run(replace(load_config(tiny, []), guidance=objectives))
        for objectives in (
            {"near": bundled},
            {"near": bundled, "far": bundled},
            {"near": bundled, "far": bundled, "other": other},
        )
    )
    assert one.prior == two.prior > 0
    assert three.prior == one.prior + 2 * models.MODELS["stable-diffusion-2-1-base"].parameters
    assert [note.partition(" ")[0] for note in three.notes] == ["stable-diffusion-2-1-base", "the"]


def test_a_name_that_is_no_model_is_still_a_mistake(tiny):
    with pytest.raises(UserError, match="Did you mean 'stable-diffusion-2-1-base'"):
        run(["plan", str(tiny), "guidance.prior.type=latent", "guidance.prior.model=stable-difusion-2-1-base"])


def test_page_and_data_agree(tiny, capsys):
    assert run(["plan", str(tiny), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert run(["plan", str(tiny)]) == 0
    page = capsys.readouterr().out
    assert [(phase["first"], phase["last"]) for phase in data["phases"]] == [(0, 3), (4, 11)]
    assert all(f"steps {phase['first']} to {phase['last']}: {phase['peak'] / 1e6:.1f} MB" in page for phase in data["phases"])
    assert data["peak"] >= data["resident"] and data["tensors"] > max(phase["peak"] for phase in data["phases"])


def test_every_stage_of_a_run_is_measured_under_its_name(tiny):
    stages = "stages=[{name: coarse, steps: 3}, {steps: 6, camera: {height: 24, width: 24}}]"
    plans = measure_stages(load_config(tiny, [stages]))
    assert list(plans) == ["coarse", "stage-2"]
    assert [[(p.phase.first, p.phase.last, p.phase.height) for p in plan.phases] for plan in plans.values()] == [
        [(0, 2, 12)],
        [(0, 3, 24), (4, 5, 24)],
    ]
    assert max(p.render for p in plans["coarse"].phases) < min(p.render for p in plans["stage-2"].phases)
