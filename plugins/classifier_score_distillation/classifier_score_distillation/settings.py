"""The settings of classifier score distillation. Loads no torch."""

from __future__ import annotations

from dataclasses import dataclass

from threefusion.config import Schedule, bounded
from threefusion.guidance.settings import LinearDistillationConfig
from threefusion.registry import component


@component("guidance", "classifier-score-distillation", "classifier_score_distillation.guidance:ClassifierScoreDistillation")
@dataclass(frozen=True)
class ClassifierScoreDistillationConfig(LinearDistillationConfig):
    """How strongly the text attracts, and how strongly a negative prompt repels."""

    text_scale: Schedule = bounded(Schedule.constant(100.0), -1e6, 1e6)
    """Factor of text - uncond; 100 is the size that this part has in score distillation at DreamFusion's guidance."""
    negative_scale: Schedule = bounded(Schedule.constant(0.0), -1e6, 1e6)
    """Factor of uncond - negative; above 0 it needs `prompt.negative` and a third network evaluation per view."""
