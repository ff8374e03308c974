"""The settings of the loss `color-variance`; `check` and `describe` load this file alone, which needs no torch."""

from __future__ import annotations

from dataclasses import dataclass

from threefusion.config import bounded
from threefusion.loss.settings import LossConfig
from threefusion.registry import component


@component("loss", "color-variance", "color_variance.loss:ColorVariance")
@dataclass(frozen=True)
class ColorVarianceConfig(LossConfig):
    """Which pixels count."""

    min_opacity: float = bounded(0.5, 0, 1, open_high=True)
    """Pixels less opaque than this are left out."""
