"""Which modules declare which components: the package itself, then `plugins/`, then entry points."""

from __future__ import annotations

import importlib
import pkgutil


def load(kind: str, name: str) -> None:
    """Import the modules that may declare (kind, name)."""
    import threefusion

    for module in pkgutil.walk_packages(threefusion.__path__, "threefusion."):
        importlib.import_module(module.name)
