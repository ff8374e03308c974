"""What each view is told: the same text everywhere, hard bins of the azimuth, or a blend along it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.guidance.prior.prior import TextEncoder
from threefusion.prompt.processor import PromptConfig, PromptProcessor
from threefusion.registry import register
from threefusion.types import Cameras

VIEWS = ("front", "side", "back", "overhead")


@dataclass(frozen=True)
class PlainConfig(PromptConfig):
    """One text for all views."""


@register("plain")
class Plain(PromptProcessor):
    """Every view is told the same."""

    def __init__(self, cfg: PlainConfig, encoder: TextEncoder) -> None:
        super().__init__(cfg, encoder)

    def view_texts(self) -> list[str]:
        """The text alone."""
        return [self.cfg.text]

    def view_weights(self, camera: Cameras) -> Float[Tensor, "B 1"]:
        """All of it, for every view."""
        return torch.ones(len(camera), 1, device=self.tokens.device)


@dataclass(frozen=True)
class ViewDependentConfig(PromptConfig):
    """A text per view, made from one."""

    template: str = "{prompt}, {view} view"
    """How a view's text is made; {prompt} is the text, {view} is front, side, back or overhead."""
    overhead_deg: float = 60.0
    """Elevation in degrees above which a view is overhead."""
    front: str | None = None
    """The whole text of front views, if the template will not do."""
    side: str | None = None
    """The whole text of side views, if the template will not do."""
    back: str | None = None
    """The whole text of back views, if the template will not do."""
    overhead: str | None = None
    """The whole text of overhead views, if the template will not do."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if "{prompt}" not in self.template:
            raise ValueError("template: must contain {prompt}")
        if not 0 <= self.overhead_deg <= 90:
            raise ValueError("overhead_deg: 0 to 90")


class ViewDependent(PromptProcessor):
    """Four texts: front, side, back and overhead; the azimuth decides between the first three, the elevation on the last."""

    cfg: ViewDependentConfig

    def view_texts(self) -> list[str]:
        """The texts in the order of `VIEWS`."""

        def text(view: str) -> str:
            # Not str.format: a prompt may hold braces of its own.
            return getattr(self.cfg, view) or self.cfg.template.replace("{view}", view).replace("{prompt}", self.cfg.text)

        return [text(view) for view in VIEWS]

    def view_weights(self, camera: Cameras) -> Float[Tensor, "B 4"]:
        """Overhead alone above the threshold, else what `around` says."""
        overhead = (camera.elevation > math.radians(self.cfg.overhead_deg)).float()[:, None]
        return torch.cat([(1 - overhead) * self.around(camera.azimuth.abs()), overhead], dim=1)

    def around(self, turn: Float[Tensor, "B"]) -> Float[Tensor, "B 3"]:
        """Shares of front, side and back at `turn` radians from the front, 0 to π."""
        raise NotImplementedError


@dataclass(frozen=True)
class InterpolatedConfig(ViewDependentConfig):
    """View-dependent texts, blended."""


@register("interpolated")
class Interpolated(ViewDependent):
    """DreamFusion's view-dependent prompts (arXiv 2209.14988): front, side and back, blended by azimuth.

    The blend is linear between the front at 0°, the side at 90° and the back at 180°.
    """

    def __init__(self, cfg: InterpolatedConfig, encoder: TextEncoder) -> None:
        super().__init__(cfg, encoder)

    def around(self, turn: Float[Tensor, "B"]) -> Float[Tensor, "B 3"]:
        """Hat functions at 0, π/2 and π."""
        quarters = turn / (math.pi / 2)
        return torch.stack([(1 - (quarters - centre).abs()).clamp(min=0) for centre in (0, 1, 2)], dim=1)


@dataclass(frozen=True)
class BinnedConfig(ViewDependentConfig):
    """View-dependent texts, one per view."""

    front_deg: float = 45.0
    """Views less than this many degrees from the front are front views."""
    back_deg: float = 45.0
    """Views less than this many degrees from the back are back views."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.front_deg, self.back_deg) < 0 or self.front_deg + self.back_deg > 180:
            raise ValueError("front_deg: at least 0, and front_deg + back_deg at most 180")


@register("binned")
class Binned(ViewDependent):
    """Each view is told one of the four texts, as threestudio does and as the bundled priors were trained."""

    def __init__(self, cfg: BinnedConfig, encoder: TextEncoder) -> None:
        super().__init__(cfg, encoder)
        self.cfg: BinnedConfig = cfg

    def around(self, turn: Float[Tensor, "B"]) -> Float[Tensor, "B 3"]:
        """One of front, side and back."""
        front = turn < math.radians(self.cfg.front_deg)
        back = turn > math.pi - math.radians(self.cfg.back_deg)
        return torch.stack([front, ~front & ~back, back & ~front], dim=1).float()
