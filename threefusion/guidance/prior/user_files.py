"""Whether the user's own files of a run's priors can be read, from their headers. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from threefusion.config.values import plain
from threefusion.errors import first_line
from threefusion.guidance.prior.files import ModelError
from threefusion.guidance.prior.inversion_keys import token_of
from threefusion.guidance.prior.lora_keys import read_layers

if TYPE_CHECKING:
    from PIL import Image

    from threefusion.config import RunConfig


def check_user_files(config: RunConfig) -> list[str]:
    """Warnings about tokens that no prompt of the run has; reads reference pictures, and the headers of all LoRA and
    textual inversion files.

    Raises:
        ModelError: a file is missing, damaged, or of another kind.
    """
    warnings = []
    for stage in config.parts:
        for term in stage.losses.values():
            if picture := getattr(term, "image", None):
                open_picture(Path(picture))
        for prior in [getattr(objective, "prior", None) for objective in stage.guidance.values()]:
            if picture := getattr(prior, "image", None):
                open_picture(Path(picture))
            for reference in getattr(prior, "reference", ()):
                open_picture(Path(reference.image))
            for lora in getattr(prior, "lora", ()):
                read_layers(Path(lora.path))
            tokens = {token_of(Path(file))[0]: file for file in getattr(prior, "textual_inversion", ())}
            text = str(plain(stage.prompt)).lower()
            warnings += [
                f"{file}: no prompt has its token {token!r}" for token, file in tokens.items() if token.lower() not in text
            ]
    return list(dict.fromkeys(warnings))


def open_picture(path: Path) -> Image.Image:
    """A picture with colours and opacity.

    Raises:
        ModelError: it cannot be read, or shows nothing.
    """
    from PIL import Image

    try:
        with Image.open(path) as picture:
            rgba = picture.convert("RGBA")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ModelError(f"{path}: cannot be read as a picture ({first_line(error)})") from error
    if rgba.getextrema()[3][1] == 0:
        raise ModelError(f"{path}: shows nothing, it is transparent all over")
    return rgba
