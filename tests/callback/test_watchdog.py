"""A training in which nothing happens is warned of, once and in one line; a healthy one is not."""

from __future__ import annotations

import math

import pytest
import torch

from threefusion.callback.watchdog import Watchdog
from threefusion.config import load_config
from threefusion.run.trainer import make_trainer, silence_libraries
from threefusion.system.build import build_system
from threefusion.system.text_to_3d import TextTo3D

SMALL = ["trainer.max_steps=5"]
SURFACE = ["geometry={type: tetrahedra, radius: 0.8, resolution: 16}", "renderer=rasterizer", "loss=null"]
PICTURE = ["geometry={type: image, height: 8, width: 8}", "renderer=image", "loss=null"]
GEOMETRIES = {"density": [], "surface": SURFACE, "picture": PICTURE}


@pytest.fixture
def warnings(tiny, tmp_path, capsys, terminal):
    """The lines of a training of the tiny config, whose system `change` has changed."""

    def lines(*overrides, change=lambda system: None):
        silence_libraries()
        system = build_system(load_config(tiny, [*SMALL, *overrides]))
        colorful(system)
        change(system)
        trainer = make_trainer(system.config, tmp_path, [], 0)
        trainer.callbacks[:] = [Watchdog(change=2, look=3)]
        trainer.fit(system)
        return capsys.readouterr().err.splitlines()

    return lines


def colorful(system):
    """Colours that differ from place to place, as after some training."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in system.scene.geometry.parameters():
            parameter.add_(0.5 * torch.randn(parameter.shape, generator=generator))


def seen_as(change):
    """A system whose colours are changed where they are looked at, not where they are trained."""

    def changed(method):
        return lambda *given: (lambda color: color if torch.is_grad_enabled() else change(color))(method(*given))

    def apply(system):
        geometry, material = system.scene.geometry, system.scene.material
        if hasattr(geometry, "canvas"):
            geometry.canvas = changed(geometry.canvas)
        material.forward = changed(material.forward)

    return apply


@pytest.mark.parametrize("overrides", [*GEOMETRIES.values()], ids=[*GEOMETRIES])
def test_a_healthy_training_is_not_warned_of(warnings, overrides):
    assert warnings(*overrides) == []


@pytest.mark.parametrize("overrides", [*GEOMETRIES.values()], ids=[*GEOMETRIES])
def test_a_scene_of_one_colour(warnings, overrides):
    (line,) = warnings(*overrides, change=seen_as(lambda color: 0 * color + 0.5))
    assert line.startswith("warning: step 3: the whole scene has one flat colour. Raise the learning rate of the colours")


@pytest.mark.parametrize("overrides", [*GEOMETRIES.values()], ids=[*GEOMETRIES])
def test_learning_rates_of_zero(warnings, overrides):
    (line,) = warnings(*overrides, "optimizer.schedule={knots: {0: 0, 100: 1}}", change=still)
    assert line == "warning: step 2: 2 steps have not changed the scene. Its learning rates are 0: raise optimizer.lr"


def still(system):
    """The schedule begins with 0, and stays there."""
    system.optimizer_factory.scale = lambda step: 0.0


def test_a_scene_that_nothing_is_said_about(warnings):
    (line,) = warnings("guidance.weight=0", "loss=null")
    assert line.startswith("warning: step 2: 2 steps have not changed the scene. No gradient reaches it: set a weight of the")


def test_a_parameter_that_the_optimiser_does_not_hold(warnings, monkeypatch):
    """As after `module.to()` of some libraries, or a tensor that was assigned anew."""
    create = TextTo3D.configure_optimizers

    def replaced(self):
        optimizer = create(self)
        network = next(module for module in self.scene.geometry.modules() if isinstance(module, torch.nn.Linear))
        network.weight = torch.nn.Parameter(network.weight.detach().clone())
        return optimizer

    monkeypatch.setattr(TextTo3D, "configure_optimizers", replaced)
    (line,) = warnings("geometry.encoding.type=frequency")
    assert line.startswith("warning: step 0: scene.geometry.") and "is rendered, but the optimiser holds another tensor" in line


def test_an_optimiser_that_misses_all_of_the_scene(warnings, monkeypatch):
    create = TextTo3D.configure_optimizers

    def replaced(self):
        optimizer = create(self)
        for module in self.scene.modules():
            for name, value in module.named_parameters(recurse=False):
                setattr(module, name, torch.nn.Parameter(value.detach().clone()))
        return optimizer

    monkeypatch.setattr(TextTo3D, "configure_optimizers", replaced)
    first, second = warnings()
    assert "the optimiser holds another tensor" in first and "2 steps have not changed the scene" in second


def test_colours_that_are_not_finite(warnings):
    (line,) = warnings(change=seen_as(lambda color: color * math.nan))
    assert line == "warning: step 3: the colours are not finite. Lower optimizer.lr, and resume from a checkpoint before"


@pytest.mark.usefixtures("terminal")
def test_a_resumed_training_is_watched_from_its_own_first_step(tiny, tmp_path, capsys):
    system = build_system(load_config(tiny, SMALL))
    colorful(system)
    still(system)
    watchdog = Watchdog(change=2, look=3)
    for steps in (3, 6):
        trainer = make_trainer(load_config(tiny, [*SMALL, f"trainer.max_steps={steps}"]), tmp_path, [], 0)
        trainer.callbacks[:] = [watchdog]
        trainer.fit(system)
    assert [line.partition(". ")[0] for line in capsys.readouterr().err.splitlines()].count(
        "warning: step 2: 2 steps have not changed the scene"
    ) == 2
