"""What turns a scene into files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from threefusion.component import Component
from threefusion.types import Scene


class Exporter(Component):
    """Base class: `forward(scene, folder)` writes files and returns their paths, the most useful one first.

    Either all of the files appear or none. What cannot be exported is a `UserError` that says what to change.
    """

    kind = "exporter"

    def __init__(self) -> None:
        super().__init__()
        self.report: dict[str, Any] = {}
        """Facts about the last export, ready for JSON."""

    def forward(self, scene: Scene, folder: Path) -> list[Path]:
        """The files made of `scene` in `folder`, which is created if need be."""
        raise NotImplementedError
