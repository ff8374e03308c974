"""threefusion: text-to-3D by score distillation."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from threefusion.config import Schedule, Settings, bounded, slot
    from threefusion.registry import register

__version__ = "0.1.0"

_PUBLIC = {
    "Settings": "threefusion.config",
    "bounded": "threefusion.config",
    "slot": "threefusion.config",
    "register": "threefusion.registry",
    "Schedule": "threefusion.config",
}
__all__ = ["Schedule", "Settings", "__version__", "bounded", "register", "slot"]


def __getattr__(name: str) -> Any:
    """Public names, imported on first use: `import threefusion` itself loads nothing heavy."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'threefusion' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)
