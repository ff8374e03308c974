"""Videos and animations from frames. Loads nothing heavy before it writes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from threefusion.errors import UserError
from threefusion.machine.files import written

if TYPE_CHECKING:
    import numpy as np

ENCODERS = {".mp4": ("libx264", {"crf": "16"}), ".webm": ("libvpx-vp9", {"crf": "20", "b": "0"})}
VIDEOS = (*ENCODERS, ".gif")
"""Endings of what `write_video` can write."""
FRAMES_PER_SECOND = 24


def check_video(path: Path, option: str) -> None:
    """Refuse a path that is neither a video nor the name of a folder.

    Raises:
        UserError: it names the formats.
    """
    if path.suffix and path.suffix.lower() not in VIDEOS and not path.is_dir():
        raise UserError(f"{option} {path}: expected a file that ends in {', '.join(VIDEOS)}, or a folder for .png files")


def write_video(path: Path, frames: Iterator[np.ndarray]) -> None:
    """Write 8-bit RGB frames [H W 3] with even sides as the format that the file's name ends in, or leave no file.

    Raises:
        UserError: the system refuses to write.
    """
    suffix = path.suffix.lower()
    with written(path) as temporary:
        _write_gif(temporary, frames) if suffix == ".gif" else _encode(temporary, *ENCODERS[suffix], frames)


def _encode(path: Path, codec: str, options: dict[str, str], frames: Iterator[np.ndarray]) -> None:
    import imageio.v2 as imageio

    parameters = [word for name, value in options.items() for word in (f"-{name}:v", value)]
    count = 0
    # its own context manager leaves ffmpeg running after an exception
    with closing(
        imageio.get_writer(path, fps=FRAMES_PER_SECOND, codec=codec, quality=None, macro_block_size=2, output_params=parameters)
    ) as writer:
        for frame in frames:
            writer.append_data(frame)
            count += 1
    refuse_incomplete(path, count)


def refuse_incomplete(video: Path, frames: int) -> None:
    """Count the frames of a video: imageio does not say that ffmpeg has failed, as on a full disk.

    Raises:
        OSError: there are fewer than `frames`.
    """
    from imageio_ffmpeg import count_frames_and_secs

    try:
        counted, _ = count_frames_and_secs(str(video))
    except RuntimeError:
        counted = 0
    if counted < frames:
        raise OSError(f"ffmpeg wrote {counted} of {frames} frames")


def _write_gif(path: Path, frames: Iterator[np.ndarray]) -> None:
    from PIL import Image

    first, *others = (Image.fromarray(frame).quantize(dither=Image.Dither.NONE) for frame in frames)
    first.save(path, "gif", save_all=True, append_images=others, duration=round(1000 / FRAMES_PER_SECOND), loop=0)
