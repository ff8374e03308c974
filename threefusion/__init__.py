"""threefusion: text-to-3D by score distillation."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from threefusion.config import Choice, choose, slot
    from threefusion.registry import register
    from threefusion.schedule import Schedule

__version__ = "0.1.0"

_PUBLIC = {
    "Choice": "threefusion.config",
    "choose": "threefusion.config",
    "slot": "threefusion.config",
    "register": "threefusion.registry",
    "Schedule": "threefusion.schedule",
}
__all__ = ["Choice", "Schedule", "__version__", "choose", "register", "slot"]


def __getattr__(name: str) -> Any:
    """Public names, imported on first use: `import threefusion` itself loads nothing heavy."""
    if name not in _PUBLIC:
        raise AttributeError(f"module 'threefusion' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)
