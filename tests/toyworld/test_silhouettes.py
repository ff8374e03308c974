"""The bundled silhouettes equal rendered ones."""

import numpy as np
import torch

from threefusion.toyworld import score
from threefusion.toyworld.catalogue import CLASSES


def test_packed_silhouettes_cover_every_class_and_equal_rendered_ones():
    views = score.CameraKey(score.scoring_cameras())
    with np.load(score.SILHOUETTES) as packed:
        assert set(packed.files) == {name.replace(" ", "_") for name in CLASSES}
    for name in ("car", "ice cream cone"):
        assert torch.equal(score._class_masks(name, views), score.rendered_masks(name, views))
