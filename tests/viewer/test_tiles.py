"""Tiles share a window and its camera."""

from __future__ import annotations

from math import tan

import numpy as np
import pytest

from threefusion.viewer.tiles import arranged, captioned, fitted, tile_pose, tiled
from threefusion.viewer.viewer import Pose

WIDE = Pose(np.eye(4), 0.8, 2.0)


def test_tiles_are_as_large_as_can_be() -> None:
    assert [arranged(count, 1.6) for count in (1, 2, 4, 6)] == [(1, 1), (1, 2), (2, 2), (2, 3)]
    assert arranged(3, 0.3) == (3, 1) and arranged(3, 3.0) == (1, 3)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (1, 2), (1, 4), (2, 1)])
def test_what_fits_into_the_window_fits_into_a_tile(rows: int, columns: int) -> None:
    tile = tile_pose(WIDE, rows, columns)
    assert tile.aspect == 2.0 * rows / columns and tile.c2w is WIDE.c2w
    # half the smaller side of the picture, one unit away
    assert min(1.0, tile.aspect) * tan(tile.fovy / 2) == pytest.approx(tan(0.4))


def test_every_sight_has_the_same_pose_and_its_own_place() -> None:
    asked = []

    def sight(shade: int):
        def look(pose: Pose, channel: str, height: int) -> np.ndarray:
            asked.append((pose.aspect, channel, height))
            return np.full((height, round(height * pose.aspect), 3), shade, np.uint8)

        return look

    window = tiled({"left": sight(10), "right": sight(200)}, WIDE, "normals", 64)
    assert window.shape == (64, 128, 3) and asked == [(1.0, "normals", 64)] * 2
    assert (window[:36, :64] == 10).all() and (window[:36, 64:] == 200).all()
    assert (window[36:, :64] != 10).any()  # the name
    three = tiled({"a": sight(10), "b": sight(20), "c": sight(30)}, Pose(np.eye(4), 0.8, 1.0), "colour", 64)
    assert three.shape == (64, 64, 3) and (three[32:, 32:] == 255).all()


def test_a_canvas_is_shown_whole() -> None:
    wide = np.zeros((4, 16, 3), np.uint8)
    placed = fitted(wide, 8, 8)
    assert placed.shape == (8, 8, 3) and (placed[3:5] == 0).all() and (placed[:3] == 255).all()
    assert fitted(wide, 4, 16) is wide


def test_a_name_is_text() -> None:
    blank = np.full((40, 80, 3), 128, np.uint8)
    assert (captioned(blank, "<b>猫</b>") != blank).any()
