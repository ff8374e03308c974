"""Packs the silhouettes used by the toy world's scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from threefusion.toyworld.catalogue import CLASSES
from threefusion.toyworld.score import SILHOUETTES, CameraKey, rendered_masks, scoring_cameras


def pack_silhouettes(folder: Path) -> Path:
    """Write the silhouettes of every class from the scoring cameras to a file in `folder`, because rendering them takes long.

    Run it on `SILHOUETTES.parent` after a change to the classes or the scoring cameras; a test compares the file with them.
    """
    views = CameraKey(scoring_cameras())
    masks = {name.replace(" ", "_"): np.packbits(rendered_masks(name, views).numpy()) for name in CLASSES}
    path = folder / SILHOUETTES.name
    np.savez_compressed(path, **masks)
    return path
