"""Source of a small loss, for plugins made by tests."""

PLUGIN = '''
from __future__ import annotations
from dataclasses import dataclass
{imports}
from threefusion.loss.loss import LossTerm
from threefusion.loss.settings import LossConfig
from threefusion.registry import register

@dataclass(frozen=True)
class {cls}Config(LossConfig):
    """Settings."""
    level: float = 0.25
    """Opacity that is aimed at."""

@register("{name}")
class {cls}(LossTerm):
    """Pulls opacity to a level."""

    def __init__(self, cfg: {cls}Config) -> None:
        super().__init__(cfg)

    def forward(self, render, batch):
        return (render.opacity - self.cfg.level).square().mean()
'''


def plugin(name: str, cls: str = "Level", imports: str = "") -> str:
    """The text of a module that registers the loss `name`."""
    return PLUGIN.format(name=name, cls=cls, imports=imports)
