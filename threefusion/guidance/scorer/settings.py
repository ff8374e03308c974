"""Settings of the built-in scorers."""

from __future__ import annotations

from dataclasses import dataclass

from threefusion.config.fields import Schedule, Settings, bounded
from threefusion.registry import component


@dataclass(frozen=True)
class ScorerConfig(Settings):
    """Settings of every scorer."""

    weight: Schedule = bounded(Schedule.constant(0.5), 0, 1e6)
    """Length of the score's gradient, as a multiple of the objective's own in each view."""


@dataclass(frozen=True)
class ClipScorerConfig(ScorerConfig):
    """Settings of the scorers with a CLIP model."""

    model: str = "toyworld-judge"
    """A folder with a CLIPModel of transformers, its tokenizer and preprocessor, a hub id, or an alias (`doctor` lists them)."""
    revision: str | None = None
    """Commit, tag or branch of a hub id; a local folder has none."""


@component("scorer", "similarity", "threefusion.guidance.scorer.clip:Similarity")
@dataclass(frozen=True)
class SimilarityConfig(ClipScorerConfig):
    """The similarity to the view's text."""


@component("scorer", "view-class", "threefusion.guidance.scorer.clip:ViewClass")
@dataclass(frozen=True)
class ViewClassConfig(ClipScorerConfig):
    """The probability that the view is the one from which the camera looks (RecDreamer, arXiv 2502.12640, without its prior)."""
