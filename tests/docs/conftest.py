"""One finished run for every page."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of the quickstart with the closed-form prior: one step, exported."""
    from doc_blocks import ROOT
    from workspace import TINY, call

    folder = tmp_path_factory.mktemp("docs") / "run"
    small = ["guidance.prior=gaussian", "guidance.prior.image_size=8", "camera.height=8", "camera.width=8"]
    small += ["exporter.resolution=24", "exporter.texture_size=64", "exporter.views=2", "exporter.max_faces=200"]
    os.environ.setdefault("THREEFUSION_CACHE", str(folder.parent / "cache"))
    call("train", "--config", str(ROOT / "configs" / "quickstart.yaml"), "--out", str(folder), *TINY, *small)
    return folder
