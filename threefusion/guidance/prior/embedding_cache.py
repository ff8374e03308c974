"""Text embeddings on disk, so that a text encoder of gigabytes is loaded once per text and not once per run.

An entry's file name is the digest of everything its content depends on. One that cannot be read or is damaged counts as missing
and is written again.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from threefusion.errors import UserError
from threefusion.guidance.prior.conditioning import Conditioning
from threefusion.guidance.prior.prior import TextEncoder
from threefusion.machine.checksums import cache_folder
from threefusion.machine.sealed import read_sealed, write_sealed
from threefusion.messages import Noted, send


def embed_texts(encoder: TextEncoder, texts: list[str], folder: Path | None = None) -> Conditioning:
    """The conditioning of each text, from the cache in `folder` (by default `cache_folder()`) where it is cached.

    The encoder runs at most once, on the texts that are missing.
    """
    if encoder.key is None:
        return encoder.encode(texts)
    paths = {text: entry_path(folder or cache_folder(), encoder.key, text) for text in texts}
    cached = {text: entry for text, path in paths.items() if (entry := read_entry(path)) is not None}
    missing = [text for text in paths if text not in cached]
    if missing:
        encoded = encoder.encode(missing)
        for row, text in enumerate(missing):
            cached[text] = encoded[row : row + 1]
            write_entry(paths[text], cached[text])
    return Conditioning.cat([cached[text] for text in texts])


def entry_path(folder: Path, key: str, text: str) -> Path:
    """The file of `text` under the encoder `key` (model, revision, precision, token length)."""
    digest = hashlib.sha256(f"{key}\0{text}".encode()).hexdigest()
    return folder / "embeddings" / f"{digest}.embedding"


def read_entry(path: Path) -> Conditioning | None:
    """The conditioning in a file; None if the file is missing or damaged."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        return Conditioning(**{name: value[None] for name, value in load(read_sealed(path)).items()})
    except FileNotFoundError:
        return None
    except (OSError, SafetensorError, TypeError, ValueError) as error:
        send(Noted(f"The cached text embedding {path} cannot be read ({error}); the text is encoded again."))
        return None


def write_entry(path: Path, entry: Conditioning) -> None:
    """Write one text's conditioning in one move; a cache that cannot be written costs time, not the run."""
    from safetensors.torch import save

    content = save({name: value[0].contiguous() for name, value in vars(entry).items() if value is not None})
    try:
        write_sealed(path, content)
    except UserError as error:
        send(Noted(f"The text embedding cannot be cached: {error}"))
