"""View-dependent prompts: the same text everywhere, one text per bin of the azimuth, or a blend along it."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.prompt.processor import PromptProcessor
from threefusion.prompt.settings import VIEWS, BinnedConfig, ViewDependentConfig, without
from threefusion.types import Cameras


class Plain(PromptProcessor):
    """Uses the same text for every view."""

    def view_texts(self) -> list[str]:
        """The one text."""
        return [self.cfg.text]

    def view_weights(self, camera: Cameras) -> Float[Tensor, "B 1"]:
        """1 for every view."""
        return torch.ones(len(camera), 1, device=camera.azimuth.device)


class ViewDependent(PromptProcessor):
    """Four texts: front, side and back by azimuth, overhead by elevation."""

    cfg: ViewDependentConfig

    def view_texts(self) -> list[str]:
        """The texts in the order of `VIEWS`."""

        def text(view: str) -> str:
            # Not str.format: a prompt may hold braces of its own.
            shown = without(self.cfg.text, self.cfg.drop[view]) if view in self.cfg.drop else self.cfg.text
            return getattr(self.cfg, view) or self.cfg.template.replace("{view}", view).replace("{prompt}", shown)

        return [text(view) for view in VIEWS]

    def view_weights(self, camera: Cameras) -> Float[Tensor, "B 4"]:
        """Overhead alone above the threshold, else the shares that `around` returns."""
        overhead = (camera.elevation > math.radians(self.cfg.overhead_deg)).float()[:, None]
        return torch.cat([(1 - overhead) * self.around(camera.azimuth.abs()), overhead], dim=1)

    @abstractmethod
    def around(self, turn: Float[Tensor, "B"]) -> Float[Tensor, "B 3"]:
        """Shares of front, side and back at `turn` radians from the front, 0 to π."""


class Interpolated(ViewDependent):
    """DreamFusion's view-dependent prompts (arXiv 2209.14988): front, side and back, blended by azimuth.

    The blend is linear between the front at 0°, the side at 90° and the back at 180°.
    """

    def around(self, turn: Float[Tensor, "B"]) -> Float[Tensor, "B 3"]:
        """Hat functions at 0, π/2 and π."""
        quarters = turn / (math.pi / 2)
        return torch.stack([(1 - (quarters - centre).abs()).clamp(min=0) for centre in (0, 1, 2)], dim=1)


class Binned(ViewDependent):
    """Uses one of the four texts per view, as threestudio does and as the bundled priors were trained."""

    cfg: BinnedConfig

    def around(self, turn: Float[Tensor, "B"]) -> Float[Tensor, "B 3"]:
        """One of front, side and back."""
        front = turn < math.radians(self.cfg.front_deg)
        back = turn > math.pi - math.radians(self.cfg.back_deg)
        return torch.stack([front, ~front & ~back, back & ~front], dim=1).float()
