"""Runs with several objectives, with a critic that is trained, and without a diffusion prior."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch

from threefusion.config import load_config
from threefusion.errors import UserError
from threefusion.run.folder import new_run_folder
from threefusion.run.training import train
from threefusion.system.build import build_system

PLUGINS = f"plugins=[{Path(__file__).parent / 'objectives'}]"
GAUSSIAN = "prior: {type: gaussian, image_size: 12}"


def toy(tiny, *overrides):
    return load_config(tiny, [PLUGINS, "trainer.max_steps=6", "exporter=null", *overrides])


def run(config, folder):
    folder = folder if folder.exists() else new_run_folder(config, folder)
    assert train(config, folder) == 0
    return folder


def checkpoint(folder):
    return torch.load(max((folder / "checkpoints").iterdir()), weights_only=True)


@pytest.fixture
def vsd(tiny):
    return toy(tiny, f"guidance={{type: toy-vsd, {GAUSSIAN}}}", "optimizer.groups={guidance.guidance.critic: 0.1}")


def test_a_critic_is_trained_at_its_own_rate_and_saved(vsd, tmp_path):
    system = build_system(vsd)
    begun = {name: value.clone() for name, value in system.guidance.state_dict().items()}
    assert set(begun) == {"guidance.critic.weight", "guidance.critic.bias"}
    state = checkpoint(run(vsd, tmp_path / "run"))
    for name, value in begun.items():
        moved = (state["state_dict"][f"guidance.{name}"] - value).abs()
        assert 0.05 < moved.max() < 0.7  # six steps of Adam at a rate of 0.1
    assert [group["lr"] for group in state["optimizer_states"][0]["param_groups"]] == [0.01, 0.1]
    rows = list(csv.DictReader((tmp_path / "run" / "metrics.csv").open()))
    assert all(float(row["critic"]) > 0 for row in rows)


def test_a_critic_is_resumed_bit_for_bit(vsd, tiny, tmp_path):
    whole = checkpoint(run(vsd, tmp_path / "whole"))
    overrides = [f"guidance={{type: toy-vsd, {GAUSSIAN}}}", "optimizer.groups={guidance.guidance.critic: 0.1}"]
    run(toy(tiny, *overrides, "trainer.max_steps=3"), tmp_path / "parts")
    parts = checkpoint(run(vsd, tmp_path / "parts"))
    assert whole["state_dict"].keys() == parts["state_dict"].keys()
    for name, value in whole["state_dict"].items():
        assert torch.equal(value, parts["state_dict"][name]), name


def test_a_critics_first_parameters_follow_from_the_seed(vsd, tiny):
    torch.manual_seed(1)
    one = build_system(vsd).guidance.state_dict()
    torch.manual_seed(2)
    two = build_system(vsd).guidance.state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)


VSD = f"guidance={{type: vsd, critic: {{lr: {{knots: {{0: 0, 4: 0.04}}}}}}, {GAUSSIAN}}}"


def test_the_critic_of_vsd_has_a_schedule_of_its_own_and_is_resumed_bit_for_bit(tiny, tmp_path):
    more = ["optimizer.schedule=0.5", "trainer.max_steps=6"]
    whole = checkpoint(run(toy(tiny, VSD, *more), tmp_path / "whole"))
    run(toy(tiny, VSD, *more, "trainer.max_steps=3"), tmp_path / "parts")
    parts = checkpoint(run(toy(tiny, VSD, *more), tmp_path / "parts"))
    critics = [name for name in whole["state_dict"] if name.startswith("guidance.")]
    assert critics == ["guidance.guidance.critic.shift", "guidance.guidance.critic.log_ratio"]
    assert whole["state_dict"].keys() == parts["state_dict"].keys()
    for name, value in whole["state_dict"].items():
        assert torch.equal(value, parts["state_dict"][name]), name
    # the rates of the last step: half of 0.01, and the critic's own
    for state in (whole, parts):
        assert [group["lr"] for group in state["optimizer_states"][0]["param_groups"]] == [0.005, 0.04]
    # Adam's steps are as long as the rate: 0 + 0.01 + 0.02 + 0.03 + 0.04 + 0.04 at most
    moved = whole["state_dict"][critics[1]].abs().item()
    assert 0.01 < moved < 0.141


def test_a_second_learning_rate_for_a_critic_is_refused(tiny):
    with pytest.raises(UserError, match=r"optimizer\.groups\.guidance\.guidance\.critic: the guidance has a learning rate"):
        build_system(toy(tiny, VSD, "optimizer.groups={guidance.guidance.critic: 0.1}"))


def test_the_network_of_a_critic_is_not_in_a_checkpoint(tiny, tmp_path):
    config = toy(tiny, "guidance={type: vsd, prior: {type: pixel, model: toyworld-pixel}}", "trainer.max_steps=1")
    names = [name for name in checkpoint(run(config, tmp_path / "run"))["state_dict"] if name.startswith("guidance.")]
    assert names and all(
        name.startswith(("guidance.guidance.critic.lora.", "guidance.guidance.critic.camera.")) for name in names
    )


def test_an_objective_without_a_prior_trains_a_scene(tiny, tmp_path):
    config = toy(tiny, "guidance={type: toy-clip}", "prompt.text=a red ÿÿA", "trainer.max_steps=12", "optimizer.lr=0.05")
    folder = run(config, tmp_path / "run")
    rows = list(csv.DictReader((folder / "metrics.csv").open()))
    assert float(rows[-1]["similarity"]) > float(rows[0]["similarity"])
    report = json.loads((folder / "report.json").read_text())
    assert report["network_calls"] == report["network_images"] == 0


def test_a_parameter_that_would_not_be_trained_is_refused_by_name(tiny):
    with pytest.raises(UserError, match=r"guidance\.guidance\.scale: requires gradients and would not be trained"):
        build_system(toy(tiny, "guidance={type: toy-forgetful}")).configure_optimizers()


def test_objectives_are_weighted_and_their_metrics_named(tiny, tmp_path):
    sds, clip = f"{{type: sds, {GAUSSIAN}, weight: 0.5}}", "{type: toy-clip, weight: {knots: {0: 0, 4: 0, 5: 2}}}"
    both = f"guidance={{guidance: null, sds: {sds}, clip: {clip}}}"
    config = toy(tiny, both, "loss.orientation=null", "loss.sparsity=null")
    rows = list(csv.DictReader((run(config, tmp_path / "run") / "metrics.csv").open()))
    for step, row in enumerate(rows):
        active = step >= 5
        assert bool(row["clip"]) is bool(row["clip.similarity"]) is active, "an objective of weight 0 is not evaluated"
        expected = 0.5 * float(row["sds"]) + (2 * float(row["clip"]) if active else 0)
        assert float(row["loss"]) == pytest.approx(expected, rel=1e-4)
        assert float(row["sds.grad_norm"]) > 0


def test_objectives_with_equal_prior_settings_share_one_prior(tiny):
    def priors(*objectives):
        named = ", ".join(f"{name}: {{{part}}}" for name, part in zip("ab", objectives, strict=True))
        return build_system(toy(tiny, f"guidance={{guidance: null, {named}}}")).priors

    assert len(priors(f"type: sds, {GAUSSIAN}", f"type: toy-vsd, {GAUSSIAN}")) == 1
    assert len(priors(f"type: sds, {GAUSSIAN}", "type: sds, prior: {type: gaussian, image_size: 8}")) == 2


def test_an_objective_can_see_the_normals(tiny):
    system = build_system(toy(tiny, "guidance={type: toy-clip, input: normal}"))
    batch = system.camera.sample(0, 0, torch.arange(2))
    seen = []
    objective = system.guidance["guidance"]
    objective.register_forward_hook(lambda module, inputs, output: seen.append(module.image(inputs[0])))
    loss, _ = system.compute_loss(batch)
    loss.backward()
    normal = system.last_render.normal
    torch.testing.assert_close(seen[0], 0.5 * normal + 0.5)
    assert any(value.grad is not None and value.grad.any() for value in system.scene.geometry.parameters())


def test_facing_needs_a_diffusion_prior(tiny):
    with pytest.raises(UserError, match=r"facing\.steps"):
        build_system(toy(tiny, "guidance={type: toy-clip}", "facing.steps=[1]"))


class FakeTrainer:
    world_size, accumulate_grad_batches, global_rank = 1, 1, 0


@pytest.mark.parametrize(
    ("world", "group_size", "fits"), [(1, 4, True), (2, 2, True), (4, 1, True), (4, 2, False), (2, 4, False), (3, 1, False)]
)
def test_processes_take_whole_groups(tiny, world, group_size, fits):
    system = build_system(toy(tiny))
    system.camera.group_size = group_size
    trainer = FakeTrainer()
    trainer.world_size = world
    system.trainer = trainer
    if not fits:
        with pytest.raises(UserError, match=r"camera\.batch_size: 4 views .*cannot be shared evenly by"):
            system.views(0)
        return
    batch = system.views(0)
    assert len(batch) == 4 // world
    assert batch.group.tolist() == [i // group_size for i in range(4 // world)]


def test_a_batch_of_broken_groups_is_refused_by_name(tiny, monkeypatch):
    from threefusion.camera.orbital import OrbitalCameras

    # a camera of a plugin, whose settings do not say it
    monkeypatch.setattr(OrbitalCameras, "group_size", property(lambda _: 3, lambda *_: None))
    with pytest.raises(UserError, match=r"camera\.batch_size: 4 is not a multiple of 3"):
        build_system(toy(tiny))
