"""Text embeddings on disk, so that a text encoder of gigabytes is loaded once per text and not once per run.

An entry's file name is the digest of everything its content depends on. Files are moved into place whole; one that cannot be
read counts as absent and is written anew.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import tempfile
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.guidance.prior.prior import TextEncoder

logger = logging.getLogger(__name__)


def cache_folder() -> Path:
    """`THREEFUSION_CACHE` if set, else the platform's place for caches."""
    if chosen := os.environ.get("THREEFUSION_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return base / "threefusion"


def embed(encoder: TextEncoder, texts: list[str], folder: Path | None = None) -> Float[Tensor, "n L D"]:
    """Tokens of each text, from the cache in `folder` (by default `cache_folder()`) where they are there.

    The encoder runs at most once, on the texts that are missing.
    """
    if encoder.key is None:
        return encoder.encode(texts)
    paths = {text: entry_path(folder or cache_folder(), encoder.key, text) for text in texts}
    known = {text: tokens for text, path in paths.items() if (tokens := read_entry(path)) is not None}
    missing = [text for text in paths if text not in known]
    if missing:
        for text, tokens in zip(missing, encoder.encode(missing), strict=True):
            known[text] = tokens
            write_entry(paths[text], tokens)
    return torch.stack([known[text] for text in texts])


def entry_path(folder: Path, key: str, text: str) -> Path:
    """Where the tokens of `text` under the encoder `key` (model, revision, precision, token length) belong."""
    digest = hashlib.sha256(f"{key}\0{text}".encode()).hexdigest()
    return folder / "embeddings" / f"{digest}.safetensors"


def read_entry(path: Path) -> Float[Tensor, "L D"] | None:
    """The tokens in a file; None if it is missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return load(path.read_bytes())["tokens"]
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError, KeyError) as error:
        logger.warning("The cached text embedding %s cannot be read (%s) and is made anew.", path, error)
        return None


def write_entry(path: Path, tokens: Float[Tensor, "L D"]) -> None:
    """Put an entry in place in one move; a cache that cannot be written costs time, not the run."""
    from safetensors.torch import save

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, suffix=".tmp")
    except OSError as error:
        logger.warning("The text embedding cannot be cached in %s (%s).", path.parent, error)
        return
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(save({"tokens": tokens.contiguous()}))
        os.replace(name, path)
    except OSError as error:
        Path(name).unlink(missing_ok=True)
        logger.warning("The text embedding cannot be cached as %s (%s).", path, error)
