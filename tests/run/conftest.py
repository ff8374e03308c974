"""A folder with a tiny config and the plugins of the staged runs."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def staged_folder(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder: `tiny.yaml`, and a plugin whose geometry starts from another one's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delenv("THREEFUSION_RUN", raising=False)
    (tmp_path / "plugins").mkdir()
    shutil.copy(Path(__file__).parent / "stage_plugins.py", tmp_path / "plugins" / "toy_stages.py")
    shutil.copy(tiny, tmp_path / "tiny.yaml")
    yield tmp_path
    sys.modules.pop("toy_stages", None)
