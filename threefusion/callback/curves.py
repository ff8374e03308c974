"""The rows of the metrics so far, as curves."""

from __future__ import annotations

import math

import numpy as np
import pytorch_lightning as pl

from threefusion.callback.metrics import CsvMetrics
from threefusion.callback.rows import read_rows
from threefusion.messages import Logged

MOST = 500
"""Points of a curve that are shown; of more, every second, third, … one."""


class Curves:
    """Losses and metrics by step: what a resumed run has logged, and what is added."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self.first = ("loss",)
        """The curves that come first: the loss and what it is made of."""
        self.has_news = False

    def begin(self, trainer: pl.Trainer) -> None:
        """Another training or stage: its rows alone, those before a resume included."""
        rows = [row for logger in trainer.loggers if isinstance(logger, CsvMetrics) for row in read_rows(logger.path)[0]]
        known = [row for row in rows if int(row["step"]) < trainer.global_step]
        self.rows = [{name: float(text) for name, text in row.items() if text} for row in known]
        self.has_news = bool(self.rows)

    def add(self, row: Logged) -> None:
        """Take a row that was logged."""
        self.rows.append({"step": float(row.step), **row.metrics})
        self.first = ("loss", *row.weights)
        self.has_news = True

    def take(self) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Steps `[N]`, and the values `[N]` of each curve, NaN where there is none."""
        self.has_news = False
        rows = self.rows[:: math.ceil(len(self.rows) / MOST)]
        logged = dict.fromkeys(name for row in rows for name in row)
        names = dict.fromkeys([*(name for name in self.first if name in logged), *logged])
        curves = {name: np.array([row.get(name, math.nan) for row in rows]) for name in names}
        return curves.pop("step"), curves
