"""What every component has in common: abstract methods are enforced, and only what follows the step is called."""

import pytest
import torch
from torch import nn

from threefusion.background.background import Background
from threefusion.camera.sampler import CameraSampler
from threefusion.component import Component, following
from threefusion.exporter.exporter import Exporter
from threefusion.geometry.encoding.encoding import Encoding
from threefusion.geometry.geometry import HasCanvas, HasDensity, HasSurface
from threefusion.loss.loss import LossTerm
from threefusion.material.material import Material
from threefusion.optimizer.optimizer import OptimizerFactory
from threefusion.renderer.renderer import Renderer
from threefusion.renderer.sampler.sampler import RaySampler

BASES = [
    Background,
    CameraSampler,
    Exporter,
    Encoding,
    HasCanvas,
    HasDensity,
    HasSurface,
    LossTerm,
    Material,
    OptimizerFactory,
    Renderer,
    RaySampler,
]


@pytest.mark.parametrize("base", BASES, ids=lambda base: base.__name__)
def test_a_component_that_lacks_any_abstract_method_cannot_be_built(base):
    assert base.__abstractmethods__
    for lacking in base.__abstractmethods__:
        others = {name: lambda *_: None for name in base.__abstractmethods__ - {lacking}}
        incomplete = type("Incomplete", (base,), {"__init__": lambda self: nn.Module.__init__(self), **others})
        with pytest.raises(TypeError, match=lacking):
            incomplete()


def test_components_that_follow_the_step_are_found_however_deep():
    class Quiet(Component):
        pass

    class Counting(Component):
        def on_step(self, step: int, generator: torch.Generator) -> None:
            pass

    root = nn.ModuleDict({"a": Quiet(), "b": nn.Sequential(nn.Linear(1, 1), Counting())})
    assert [name for name, _ in following(root)] == ["b.1"]
