"""How good a result is: text-image scores, the exact truth where it is known, pathologies, fidelity, cost."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from threefusion.evaluate.evaluate import Evaluation, evaluate_mesh, evaluate_run, read_evaluation

_PUBLIC = ("Evaluation", "evaluate_mesh", "evaluate_run", "read_evaluation")
__all__ = ["Evaluation", "evaluate_mesh", "evaluate_run", "read_evaluation"]


def __getattr__(name: str) -> Any:
    """Public names, imported on first use: the command line asks this package for its arguments without loading torch."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'threefusion.evaluate' has no attribute {name!r}")
    return getattr(importlib.import_module("threefusion.evaluate.evaluate"), name)
