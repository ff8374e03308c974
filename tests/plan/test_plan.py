"""The prediction is what a run of the same config takes, and names the step that takes most."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from threefusion.cli.main import run
from threefusion.config import load_config
from threefusion.errors import UserError
from threefusion.exporter.mesh import MeshExporter
from threefusion.geometry.density_field import DensityField
from threefusion.geometry.geometry import BuildContext
from threefusion.guidance.prior import hub, models
from threefusion.guidance.prior.settings import LatentConfig, PixelConfig
from threefusion.guidance.prior.text_encoder import PretrainedTextEncoder
from threefusion.guidance.settings import SDSConfig
from threefusion.plan.filled import Filled
from threefusion.plan.plan import measure, shortened
from threefusion.plan.worst_step import needs_normals, worst_step
from threefusion.registry import build
from threefusion.system.build import build_system
from threefusion.system.start import Source

LARGE_EXPORT = ["exporter=mesh", "exporter.resolution=64", "exporter.texture_size=1536", "trainer.max_steps=2"]
PEAK = """
import sys
from threefusion.cli.main import run
from threefusion.machine.standins import use_stand_ins
use_stand_ins()
code = run(sys.argv[1:])
from threefusion.machine.memory import peak_resident_bytes
print("peak", peak_resident_bytes())
sys.exit(code)
"""


def test_the_prediction_is_within_15_per_cent_of_a_run_with_its_export(tiny: Path, tmp_path: Path) -> None:
    """In processes of their own, whose memory nothing else has used."""
    environment = {**os.environ, "THREEFUSION_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "threefusion", "plan", str(tiny), *LARGE_EXPORT, "--json"]
    plan = json.loads(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)
    words = ["train", "--config", str(tiny), "--out", str(tmp_path / "run"), *LARGE_EXPORT]
    trained = subprocess.run([sys.executable, "-c", PEAK, *words], env=environment, check=True, capture_output=True, text=True)
    measured = int(trained.stdout.split()[-1])
    assert plan["peak"] == pytest.approx(measured, rel=0.15)
    # most of this run's memory beyond the libraries is the export's
    assert plan["stages"][0]["peak"] < 0.85 * measured
    assert plan["peak"] == pytest.approx(plan["resident"], rel=0.01) and plan["free"] > plan["peak"] / 2


SCHEDULES = {
    "a loss that begins late": (["loss.orientation.weight={knots: {9: 0, 10: 1}}", "camera.lit_probability=0"], range(10, 12)),
    "a short pulse": (["loss.orientation.weight={knots: {3: 0, 4: 1, 5: 0}}", "camera.lit_probability=0"], range(4, 5)),
    "lit views": (["camera.lit_probability=1", "loss=null"], range(4, 12)),
    "guidance without the empty prompt at first": (
        ["guidance.guidance_scale={knots: {6: 1, 7: 7}}", "camera.lit_probability=0", "loss=null"],
        range(7, 12),
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_measured_step_is_one_of_those_that_need_most(tiny: Path, name: str) -> None:
    overrides, largest = SCHEDULES[name]
    assert worst_step(build_system(load_config(tiny, overrides)), range(12)) in largest


def test_a_step_whose_views_have_guidance_needs_more_than_one_whose_views_have_none(tiny: Path) -> None:
    system = build_system(load_config(tiny, ["guidance.guidance_t_min=0.7", "camera.lit_probability=0", "loss=null"]))
    (objective,) = system.guidance.values()

    def guided(step: int) -> int:
        views = system.camera.sample(step, system.config.seed, torch.arange(system.camera.batch_size))
        return int((objective.draw_time(views) >= 0.7).sum())

    counted = [guided(step) for step in range(12)]
    assert min(counted) < max(counted) == counted[worst_step(system, range(12))]


def test_a_pulse_is_not_overlooked_in_a_long_training(tiny: Path) -> None:
    overrides = ["loss.orientation.weight={knots: {7000: 0, 7001: 1, 7002: 0}}", "camera.lit_probability=0"]
    assert worst_step(build_system(load_config(tiny, overrides)), range(10_000)) == 7001


def test_of_equal_steps_the_one_with_the_closest_views_is_measured(tiny: Path) -> None:
    system = build_system(load_config(tiny, ["camera.lit_probability=0", "loss=null"]))
    system.camera.batch_size = 1
    step = worst_step(system, range(100))
    shown = [system.camera.sample(i, 3, torch.arange(1)).camera for i in range(100)]
    extent = [float(camera.distance * (camera.fovy / 2).tan()) for camera in shown]
    assert extent[step] == min(extent)
    assert not needs_normals(system, system.camera.sample(step, 3, torch.arange(1)))


def test_one_process_of_several_is_measured(tiny: Path, tmp_path: Path) -> None:
    stage = measure(load_config(tiny, ["trainer.devices=2"]), tmp_path).stages[0]
    assert stage.views == 2


def test_moments_are_there_in_the_first_step(tiny: Path, tmp_path: Path) -> None:
    config = load_config(tiny, [])
    stage = measure(config, tmp_path).stages[0]
    trained = sum(parameter.nbytes for parameter in build_system(config).scene.parameters())
    assert stage.optimizer == pytest.approx(2 * trained, abs=100)


@pytest.mark.usefixtures("terminal")
def test_a_step_that_does_not_fit_is_measured_in_smaller_chunks(tiny, tmp_path, monkeypatch, capfd):
    forward = DensityField.forward

    def failing(self, points, normals, covariance=None):
        if len(points) > 2000:
            raise MemoryError
        return forward(self, points, normals, covariance)

    monkeypatch.setattr(DensityField, "forward", failing)
    measure(load_config(tiny, []), tmp_path)
    assert "out of memory: retrying with renderer.samples_per_chunk=" in capfd.readouterr().err


@pytest.mark.usefixtures("terminal")
def test_an_untrained_scene_is_filled_for_the_export(tiny: Path, tmp_path: Path, monkeypatch, capfd) -> None:
    exported = []
    export = MeshExporter.export
    monkeypatch.setattr(MeshExporter, "export", lambda *arguments: exported.append(export(*arguments)) or exported[-1])
    # nothing at all would be exported of this scene
    measure(load_config(tiny, ["exporter=mesh", "geometry.bias=-20", "geometry.blob=none"]), tmp_path)
    assert len(exported[0].mesh.faces) >= 10_000 and exported[0].report["silhouette_iou"] > 0.9
    captured = capfd.readouterr()
    assert captured.out == "" and "mesh" not in captured.err


def test_a_filled_geometry_is_a_ball_with_the_features_of_the_geometry(tiny: Path) -> None:
    geometry = build(load_config(tiny, []).geometry, BuildContext(feature_width=3))
    filled, points = Filled(geometry), torch.tensor([[0.0, 0, 0], [0.3, 0, 0], [0.7, 0, 0], [0, 0, 0.9]])
    assert (filled.density(points)[:, 0] > 1).tolist() == [True, True, False, False]
    assert torch.equal(filled.features(points), geometry.features(points))
    sample = filled(points, True)
    assert torch.equal(sample.density, filled.density(points))
    assert torch.equal(sample.normal, geometry(points, True).normal)


def test_what_is_measured_is_one_step_of_one_process_that_logs_nowhere_else(tiny: Path) -> None:
    config = shortened(load_config(tiny, ["trainer.devices=[1, 2]", "trainer.max_time=00:01:00:00", "logger=wandb"]))
    assert (config.trainer.devices, config.trainer.max_steps, config.trainer.max_time) == ([1], 1, None)
    assert type(config.logger).__name__ == "CsvConfig"
    assert shortened(load_config(tiny, ["logger=tensorboard"])).logger == load_config(tiny, ["logger=tensorboard"]).logger


@pytest.fixture
def offline(monkeypatch, tmp_path):
    def fetch(*arguments):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(hub, "_fetch", fetch)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))


@pytest.mark.parametrize("prior", ["latent", "pixel"])
def test_the_weights_of_a_missing_model_are_counted(tiny, offline, prior, capsys):
    model = {"latent": "stable-diffusion-2-1-base", "pixel": "deepfloyd-if-xl"}[prior]
    words = [f"guidance.prior.type={prior}", f"guidance.prior.model={model}"]
    assert run(["plan", str(tiny), *words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    # 866 and 84 million parameters (Stable Diffusion 2.1), 4305 million (DeepFloyd IF-I-XL), two bytes each
    weights = {"latent": 2 * (865.91e6 + 83.65e6), "pixel": 2 * 4304.7e6}[prior]
    assert found["stages"][0]["prior"] == pytest.approx(weights, rel=1e-4)
    assert found["peak"] == pytest.approx(found["resident"] + weights, rel=1e-4)
    assert found["free"] is None
    assert "not on this machine" in found["stages"][0]["notes"][0]


def test_the_weights_of_an_unknown_model_are_unknown(tiny, offline, capsys):
    words = ["guidance.prior.type=pixel", "guidance.prior.model=somebody/something"]
    assert run(["plan", str(tiny), *words]) == 0
    page = capsys.readouterr().out
    assert "prior     unknown" in page and "somebody/something is not on this machine and its size is unknown" in page


def test_the_priors_of_all_objectives_are_counted(tiny, offline, tmp_path):
    """Two objectives share the bundled prior, a third has a model that is not here."""
    bundled, other = SDSConfig(prior=PixelConfig()), SDSConfig(prior=LatentConfig(model="stable-diffusion-2-1-base"))
    one, two, three = (
        measure(replace(load_config(tiny, []), guidance=objectives), tmp_path / str(index)).stages[0]
        for index, objectives in enumerate(
            (
                {"near": bundled},
                {"near": bundled, "far": bundled},
                {"near": bundled, "far": bundled, "other": other},
            )
        )
    )
    assert one.prior == two.prior > 0
    assert three.prior == one.prior + 2 * models.MODELS["stable-diffusion-2-1-base"].parameters
    assert [note.partition(" ")[0] for note in three.notes] == ["stable-diffusion-2-1-base"]


def test_texts_are_encoded_although_they_are_cached(tiny, tmp_path, monkeypatch, capsys):
    """The prediction is that of a first run, and the cache of others is left alone."""
    encoded = []
    encode = PretrainedTextEncoder.encode
    monkeypatch.setattr(PretrainedTextEncoder, "encode", lambda self, texts: encoded.append(texts) or encode(self, texts))
    monkeypatch.setenv("THREEFUSION_CACHE", str(tmp_path / "mine"))
    for _ in range(2):
        assert run(["plan", str(tiny), "guidance.prior=pixel"]) == 0
    assert len(encoded) == 2
    assert os.environ["THREEFUSION_CACHE"] == str(tmp_path / "mine") and not (tmp_path / "mine").exists()


def test_a_name_that_is_no_model_is_still_a_mistake(tiny):
    with pytest.raises(UserError, match="Did you mean 'stable-diffusion-2-1-base'"):
        run(["plan", str(tiny), "guidance.prior.type=latent", "guidance.prior.model=stable-difusion-2-1-base"])


def test_a_critic_is_counted(tiny, capsys):
    assert run(["plan", str(tiny), "guidance.type=vsd", "guidance.prior=pixel", "--json"]) == 0
    (stage,) = json.loads(capsys.readouterr().out)["stages"]
    assert 100_000 < stage["critics"] < stage["prior"] / 10
    # two moments of what is trained, in a scene and in a critic
    assert stage["optimizer"] > 2 * stage["critics"]


def test_the_critic_of_a_missing_model_is_said_to_be_left_out(tiny, capsys):
    assert (
        run(
            [
                "plan",
                str(tiny),
                "guidance.type=vsd",
                "guidance.prior.type=latent",
                "guidance.prior.model=stable-diffusion-2-1-base",
            ]
        )
        == 0
    )
    assert "its activations and its critic are not" in capsys.readouterr().out


def test_page_and_data_agree(tiny, capsys):
    assert run(["plan", str(tiny), "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert run(["plan", str(tiny)]) == 0
    page = capsys.readouterr().out
    (stage,) = data["stages"]
    assert f"tiny, step {stage['step']}: 4 views of 12 x 12, normals" in page and stage["normals"]
    assert f"scene     {stage['parameters'] / 1e6:.1f} MB, optimiser {stage['optimizer'] / 1e6:.1f} MB" in page
    assert data["peak"] >= stage["peak"] > stage["parameters"]


def test_every_stage_of_a_run_is_measured_under_its_name(tiny, tmp_path):
    stages = "stages=[{name: coarse, steps: 3}, {steps: 6, camera: {height: 24, width: 24}}]"
    plan = measure(load_config(tiny, [stages]), tmp_path)
    assert [(stage.name, stage.height, stage.normals) for stage in plan.stages] == [("coarse", 12, True), ("stage-2", 24, True)]
    assert plan.stages[0].step < 3 and plan.stages[1].step < 6
    assert plan.peak >= plan.stages[1].peak >= plan.stages[0].peak


NEEDS_A_SURFACE = """
from dataclasses import dataclass
import torch
from threefusion.config import Settings
from threefusion.errors import UserError
from threefusion.geometry.density_field import DensityField
from threefusion.geometry.settings import DensityFieldConfig
from threefusion.registry import register


@dataclass(frozen=True)
class PickyConfig(DensityFieldConfig):
    pass


@register("picky", gives=("density",))
class Picky(DensityField):
    def __init__(self, cfg: PickyConfig, context) -> None:
        super().__init__(cfg, context)
        if context.previous is not None and context.previous.geometry.density(torch.zeros(1, 3)) < 10:
            raise UserError("the stage before has no surface")
"""


def test_a_stage_whose_geometry_is_converted_from_an_untrained_one_can_be_planned(tiny, tmp_path, monkeypatch):
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "picky_geometry.py").write_text(NEEDS_A_SURFACE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    picky = "geometry: {type: picky, radius: 0.8}"
    stages = f"stages=[{{steps: 3, geometry: {{bias: -5}}}}, {{steps: 6, {picky}}}, {{steps: 2, {picky}}}]"
    config = load_config(tiny, [stages])
    with pytest.raises(UserError, match="no surface"):
        build_system(config.stages[1], Source(build_system(config.stages[0]).scene, None, "stage-1"))
    plan = measure(config, tmp_path / "plan")
    assert [stage.name for stage in plan.stages] == ["stage-1", "stage-2", "stage-3"]
    assert len({stage.parameters for stage in plan.stages[1:]}) == 1
