"""Evaluation of results: text-image scores, comparison with ground truth, pathologies, export fidelity, cost."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from threefusion.evaluate.evaluate import Evaluation, evaluate_mesh, evaluate_run, read_evaluation

_PUBLIC = ("Evaluation", "evaluate_mesh", "evaluate_run", "read_evaluation")
__all__ = ["Evaluation", "evaluate_mesh", "evaluate_run", "read_evaluation"]


def __getattr__(name: str) -> Any:
    """Import public names on first use, so that the command line can parse arguments without loading torch."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'threefusion.evaluate' has no attribute {name!r}")
    return getattr(importlib.import_module("threefusion.evaluate.evaluate"), name)
