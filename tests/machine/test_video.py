"""Videos show the frames that were given, in the format that their name ends in, or do not exist."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest

from threefusion.errors import UserError
from threefusion.machine.video import VIDEOS, check_video, write_video

MAGIC = {".mp4": b"ftyp", ".webm": b"webm", ".gif": b"GIF89a"}
SHADES = [0, 128, 255]


def frames():
    return (np.full((32, 32, 3), shade, np.uint8) for shade in SHADES)


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.gif", "a.MP4", "a.b.GIF"])
def test_a_video_plays_its_frames_in_order_in_the_format_of_its_name(tmp_path: Path, name: str) -> None:
    import imageio.v3 as imageio

    write_video(tmp_path / name, frames())
    assert [path.name for path in tmp_path.iterdir()] == [name]
    suffix = f".{name.rpartition('.')[2].lower()}"
    assert MAGIC[suffix] in (tmp_path / name).read_bytes()[:64]
    shown = imageio.imread((tmp_path / name).read_bytes(), extension=suffix)
    assert shown.shape == (3, 32, 32, 3)
    assert np.abs(shown.mean((1, 2, 3)) - SHADES).max() < 8


@pytest.mark.parametrize("name", [f"a{suffix}" for suffix in VIDEOS])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_video_leaves_the_old_one_and_nothing_else(tmp_path: Path, name: str, error: type) -> None:
    def interrupted():
        yield from frames()
        raise error

    (tmp_path / name).write_bytes(b"old")
    with pytest.raises(error):
        write_video(tmp_path / name, interrupted())
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [(name, b"old")]


@pytest.mark.parametrize("name", ["a.avi", "a.png", "a.mp", "frames.v2"])
def test_other_formats_are_refused_with_those_that_can_be_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"^--out .*\.mp4, \.webm, \.gif, or a folder for \.png files$"):
        check_video(tmp_path / name, "--out")
    (tmp_path / name).mkdir()
    check_video(tmp_path / name, "--out")


@pytest.mark.parametrize("name", ["a.mp4", "a.WEBM", "a.gif", "frames", "../frames"])
def test_videos_and_folders_pass(tmp_path: Path, name: str) -> None:
    check_video(tmp_path / name, "--out")


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.gif"])
def test_a_video_that_cannot_be_finished_is_refused_and_removed(tmp_path: Path, name: str) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    noise = np.random.default_rng(0)
    try:
        with pytest.raises(UserError, match=rf"{name}: cannot be written"):
            write_video(tmp_path / name, (noise.integers(0, 255, (32, 32, 3), np.uint8) for _ in range(30)))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())
