"""The page on which a training is watched and steered while it runs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from threefusion.messages import Served, listening, send
from threefusion.run.exported import ExportedFiles
from threefusion.run.folder import RUN_VARIABLE, read_report
from threefusion.run.keep_settings import KeepSettings
from threefusion.run.results import export_scene, exported_mesh

if TYPE_CHECKING:
    from threefusion.callback.live import Live


@contextmanager
def viewed(keep: KeepSettings) -> Iterator[list[Live]]:
    """The callback of a run that has a viewer, which serves during the block; in the first process alone it has a page.

    Raises:
        UserError: the viewer's package is missing, or it cannot listen.
    """
    from threefusion.callback.live import Live
    from threefusion.registry import build

    config, run = keep.config, keep.run
    if config.viewer is None:
        yield []
        return
    viewer = build(config.viewer) if RUN_VARIABLE not in os.environ else None
    live = Live(viewer, config.text or config.name, keep.change, partial(export_now, keep))
    if viewer is not None:
        send(Served(viewer.open()))
        model = exported_mesh(run, read_report(run) or {})
        live.model = model if model.is_file() else None
    try:
        with listening(live.hear):
            yield [live]
    finally:
        live.close()


def export_now(keep: KeepSettings, system: Any) -> Path | None:
    """Export the scene of a system in the middle of its training; the GLB file, if one came out.

    Raises:
        UserError: the scene is empty.
    """
    from threefusion.viewer.channels import untouched

    run = keep.run
    with untouched(system.scene, system.renderer, gradients=True):
        exports = list(export_scene(keep.config, system.scene, system.renderer, ExportedFiles(run)))
    return next((path for _, exported in exports for path in exported.paths if path.suffix == ".glb"), None)
