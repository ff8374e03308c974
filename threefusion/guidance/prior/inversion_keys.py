"""The token of a textual inversion file, from its header. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from threefusion.guidance.prior.files import ModelError, safetensors_header

_A1111 = "emb_params"
"""The key of AUTOMATIC1111's layout, in which the file's name is the token."""
_SDXL = ("clip_l", "clip_g")
"""The keys of a file for the two text encoders of SDXL, in their order; the file's name is the token."""


def token_of(file: Path) -> tuple[str, dict[int, str]]:
    """The token of a textual inversion, and the key of its vectors by the number of the text encoder that they are for.

    Raises:
        ModelError: the file cannot be read, or holds something else.
    """
    keys = sorted(safetensors_header(file).keys() - {"__metadata__"})
    if keys == sorted(_SDXL):
        return file.stem, dict(enumerate(_SDXL, 1))
    if len(keys) != 1:
        listed = ", ".join(keys[:3]) or "no weights"
        raise ModelError(f"{file}: holds {listed}{', …' if len(keys) > 3 else ''}: expected one key, the token or {_A1111}")
    return (file.stem if keys[0] == _A1111 else keys[0]), {1: keys[0]}
