"""The base class of components."""

from __future__ import annotations

from abc import ABC
from collections.abc import Iterator
from typing import ClassVar

import torch
from torch import nn


class Component(nn.Module, ABC):
    """A part of the pipeline: a module whose first constructor parameter is `cfg: SomeFrozenDataclass`.

    The abstract base class of each kind sets `kind`; concrete classes are named with `@register("name")`. A class that leaves
    an abstract method out cannot be instantiated.
    """

    kind: ClassVar[str] = ""

    def __init__(self, cfg=None) -> None:
        super().__init__()
        self.cfg = cfg

    def on_step(self, step: int, generator: torch.Generator) -> None:
        """Called once before every optimiser step; override for state that follows the step (coarse-to-fine levels, say).

        Every component that is part of the training is reached, nested ones included. `generator` depends on (seed, step) and
        the component's name alone, and is the same in every process.
        """


def following(root: nn.Module) -> Iterator[tuple[str, Component]]:
    """The components below `root` that override `on_step`, by name."""
    for name, module in root.named_modules():
        if isinstance(module, Component) and type(module).on_step is not Component.on_step:
            yield name, module
