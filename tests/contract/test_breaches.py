"""The contracts notice what they are there to notice: each component here breaks one rule."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import nn

from threefusion import registry
from threefusion.background.background import Background
from threefusion.camera.sampler import CameraSampler
from threefusion.config import Settings, slot
from threefusion.geometry.encoding.encoding import Encoding
from threefusion.guidance.guidance import DiffusionGuidance, GuidanceOutput
from threefusion.guidance.settings import DiffusionGuidanceConfig
from threefusion.loss.loss import LossTerm
from threefusion.loss.settings import LossConfig
from threefusion.optimizer.optimizer import OptimizerFactory
from threefusion.testing import check_component, views


@dataclass(frozen=True)
class Plain(Settings):
    pass


@dataclass(frozen=True)
class Judge(DiffusionGuidanceConfig):
    prior: Settings = slot("prior", "gaussian")


class PixelSum(LossTerm):
    """Sums over the batch: twice as many views weigh twice as much."""

    def __init__(self, cfg: LossConfig) -> None:
        super().__init__(cfg)

    def forward(self, render, batch):
        return render.opacity.sum()


class Unfinite(PixelSum):
    """Has no gradient where opacity is what it is."""

    def forward(self, render, batch):
        return (render.opacity - render.opacity.detach()).abs().sqrt().mean()


class Detached(PixelSum):
    """Forgets what it was made from."""

    def forward(self, render, batch):
        return render.opacity.mean().detach().requires_grad_()


class GlobalNoise(DiffusionGuidance):
    """Draws its noise from the global generator."""

    def __init__(self, cfg: Judge, prior) -> None:
        super().__init__(cfg, prior)

    def forward(self, render, prompt, views):
        return GuidanceOutput((render.image * torch.randn_like(render.image)).sum(), {})


class BatchSum(GlobalNoise):
    """Adds its views up instead of taking their mean."""

    def forward(self, render, prompt, views):
        return GuidanceOutput(render.image.square().sum(), {})


class Blind(GlobalNoise):
    """Looks at the first view only."""

    def forward(self, render, prompt, views):
        return GuidanceOutput(render.image[0].square().sum(), {})


class Leaking(GlobalNoise):
    """The loss of its critic reaches the scene."""

    def forward(self, render, prompt, views):
        loss = render.image.square().mean()
        return GuidanceOutput(loss, {}, critic_loss=2 * loss)


class Untrained(GlobalNoise):
    """Has a parameter that no optimiser would ever see."""

    def __init__(self, cfg: Judge, prior) -> None:
        super().__init__(cfg, prior)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, render, prompt, views):
        return GuidanceOutput(self.scale * render.image.square().mean(), {})


class Flicker(Background):
    """Another colour at every call."""

    def __init__(self, cfg: Plain) -> None:
        super().__init__()

    def forward(self, directions, view_index, views, random):
        return torch.rand_like(directions)


class Forgetful(Encoding):
    """Keeps what it knows out of its state_dict."""

    width = 4

    def __init__(self, cfg: Plain) -> None:
        super().__init__()
        self.register_buffer("matrix", torch.randn(3, 4), persistent=False)

    def forward(self, points, covariance=None):
        return points @ self.matrix


class Wide(Forgetful):
    """Is wider than it says."""

    def forward(self, points, covariance=None):
        return torch.cat([points, points], -1)


class Crowd(CameraSampler):
    """The views depend on how many are asked for at once."""

    batch_size: ClassVar[int] = 4

    def __init__(self, cfg: Plain) -> None:
        super().__init__()

    def sample(self, step, seed, index):
        return views(len(index), of=len(index))


class Frozen(Crowd):
    """Shows the same views for ever."""

    def sample(self, step, seed, index):
        return views(4).select(index)


class HalfScene(OptimizerFactory):
    """Forgets the material."""

    def __init__(self, cfg: Plain) -> None:
        super().__init__()

    def create(self, scene: nn.ModuleDict):
        optimizer = torch.optim.Adam([{"params": scene["geometry"].parameters(), "lr": 0.1, "initial_lr": 0.1}])
        return optimizer

    def scale(self, step):
        return 1.0


BREACHES = {
    PixelSum: "loss: a mean over views",
    Unfinite: "loss: not finite",
    Detached: "loss: no gradient reaches the render",
    GlobalNoise: "guidance: all randomness comes from the batch",
    BatchSum: "guidance: a mean over groups of views",
    Blind: "guidance: every view receives a gradient",
    Leaking: "guidance: critic_loss has no gradient",
    Untrained: "guidance: trainable",
    Flicker: "background: all randomness comes from the batch",
    Forgetful: "encoding: its state_dict is incomplete",
    Wide: "encoding: .* is not",
    Crowd: "camera: a view depends on",
    Frozen: "camera: other steps have other views",
    HalfScene: "optimizer: every parameter",
}


def forget(kind):
    """Take the component `breach` out of the registry."""
    for key in [key for key in registry.ENTRIES if key[:2] == (kind, "breach")]:
        del registry.ENTRIES[key]


@pytest.mark.parametrize(("cls", "message"), BREACHES.items(), ids=lambda value: getattr(value, "__name__", None))
def test_breach_is_noticed(cls, message):
    fresh = type("Settings", (registry._constructor_settings(cls),), {"__module__": __name__})
    registry.component(cls.kind, "breach", f"{__name__}:{cls.__name__}")(dataclass(frozen=True)(fresh))
    try:
        with pytest.raises(AssertionError, match=message):
            check_component(cls.kind, "breach")
    finally:
        forget(cls.kind)
