"""A geometry whose number of rows changes: a toy point cloud that grows and prunes, trains, is saved and resumed."""

import pytest
import torch
from test_step import fit
from torch import nn

from threefusion.background.settings import SolidConfig
from threefusion.background.solid import Solid
from threefusion.camera.projection import clip_coordinates
from threefusion.config import load_config
from threefusion.errors import UserError
from threefusion.geometry.geometry import Geometry, Rewrite
from threefusion.renderer.renderer import Renderer
from threefusion.system.build import build_system
from threefusion.system.scene import restore_scene
from threefusion.system.text_to_3d import TextTo3D
from threefusion.types import RenderedPrimitives, RenderOutput, Scene

CHANGE_AT = 3


class PointCloud(Geometry):
    """Coloured points; at one step every other one is dropped, and the one that moves fastest is split."""

    def __init__(self, count=6):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.position = nn.Parameter(0.5 * torch.rand(count, 3, generator=generator) - 0.25)
        self.color = nn.Parameter(torch.zeros(count, 3))

    def prepare_load(self, state):
        for name in ("position", "color"):
            setattr(self, name, nn.Parameter(torch.empty_like(state[name])))

    def after_step(self, render, step):
        if step != CHANGE_AT:
            return None
        fastest = render.primitives.position.grad.norm(dim=-1).sum(0).argmax()
        keep = torch.arange(0, len(self.position), 2)
        return Rewrite(keep, {"position": self.position[fastest][None] + 0.01, "color": self.color[fastest][None]})


class Splats(Renderer):
    """A round blot of fixed size for each point, one over the other."""

    needs = PointCloud

    def render(self, scene, views, want):
        camera, cloud = views.camera, scene.geometry
        clip = clip_coordinates(cloud.position, camera)
        size = clip.new_tensor([camera.width, camera.height])
        position = (clip[..., :2] / clip[..., 3:] * clip.new_tensor([1.0, -1.0]) + 1) / 2 * size
        if position.requires_grad:
            position.retain_grad()
        x, y = torch.meshgrid(torch.arange(camera.width) + 0.5, torch.arange(camera.height) + 0.5, indexing="xy")
        square = (torch.stack([x, y], -1)[None, :, :, None] - position[:, None, None]).square().sum(-1)
        weights = 0.9 * (-square / 4).exp() / len(cloud.position)
        opacity = weights.sum(-1, keepdim=True)
        image = weights @ cloud.color.sigmoid() + (1 - opacity)
        primitives = RenderedPrimitives(position, torch.full(position.shape[:2], 2.0))
        return RenderOutput(image, opacity, torch.zeros_like(opacity), primitives=primitives)


def make_system(tiny, steps, optimizer="adam"):
    config = load_config(tiny, [f"trainer.max_steps={steps}", "loss.orientation.weight=0", f"optimizer={optimizer}"])
    built = build_system(config)
    return TextTo3D(config, Scene(PointCloud(), None, Solid(SolidConfig())), Splats(), built.prompt, built.guidance)


@pytest.mark.parametrize("optimizer", ["adam", "adan", "muon"])
def test_it_trains_and_resumes_exactly_across_a_change_of_its_rows(tiny, tmp_path, optimizer):
    whole = make_system(tiny, 8, optimizer)
    trainer = fit(whole, tmp_path)
    cloud = whole.scene.geometry
    assert cloud.position.shape == cloud.color.shape == (4, 3)
    held = {id(parameter) for group in trainer.optimizers[0].param_groups for parameter in group["params"]}
    assert {id(cloud.position), id(cloud.color)} <= held
    for at in (CHANGE_AT, CHANGE_AT + 2):  # before and after the change
        first = make_system(tiny, at, optimizer)
        fit(first, tmp_path).save_checkpoint(tmp_path / "half.ckpt")
        second = make_system(tiny, 8, optimizer)
        fit(second, tmp_path, checkpoint=tmp_path / "half.ckpt")
        for name, value in whole.scene.state_dict().items():
            assert torch.equal(value, second.scene.state_dict()[name]), name


def test_its_checkpoint_can_be_rendered_without_training(tiny, tmp_path):
    system = make_system(tiny, CHANGE_AT + 1)
    fit(system, tmp_path).save_checkpoint(tmp_path / "end.ckpt")
    scene = Scene(PointCloud(), None, Solid(SolidConfig()))
    restore_scene(scene, Splats(), torch.load(tmp_path / "end.ckpt", weights_only=True)["state_dict"])
    assert torch.equal(scene.geometry.position, system.scene.geometry.position)


def test_an_optimizer_that_cannot_follow_its_rows_is_refused_before_the_first_step(tiny, tmp_path):
    with pytest.raises(UserError, match="optimizer: 'shampoo' cannot train a geometry that grows or prunes"):
        fit(make_system(tiny, 8, "shampoo"), tmp_path)


def test_a_checkpoint_of_another_optimizer_is_refused(tiny, tmp_path):
    fit(make_system(tiny, 2), tmp_path).save_checkpoint(tmp_path / "half.ckpt")
    with pytest.raises(UserError, match="optimizer: the checkpoint was made with 'adam', whose state 'adan' cannot take over"):
        fit(make_system(tiny, 4, "adan"), tmp_path, checkpoint=tmp_path / "half.ckpt")
