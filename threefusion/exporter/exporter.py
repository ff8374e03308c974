"""The base class of exporters: from a scene to files."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from threefusion.component import Component
from threefusion.exporter.model import About
from threefusion.renderer.renderer import Renderer
from threefusion.types import Mesh, Scene


@dataclass(frozen=True)
class Exported:
    """What an export has made."""

    paths: list[Path]
    """The files, the most useful one first."""
    report: dict[str, Any] = field(default_factory=dict)
    """Facts about the export, ready for JSON."""
    mesh: Mesh | None = None
    """The surface that was written, in world space and on the CPU; None if the files hold none."""


class Exporter(Component):
    """Writes files from a trained scene. Constructed with `(cfg)`."""

    kind: ClassVar[str] = "exporter"
    about = About()
    """The origin of the scene, for files with metadata."""

    @abstractmethod
    def export(self, scene: Scene, renderer: Renderer, folder: Path) -> Exported:
        """Write the files into `folder`, which is created if need be: all of them or none.

        Raises:
            UserError: the scene cannot be exported; the message says what to change.
        """
