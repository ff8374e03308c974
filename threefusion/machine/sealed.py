"""Files of a cache that begin with the SHA-256 of the rest, so that a damaged one is recognised. Loads no torch."""

from __future__ import annotations

import hashlib
from pathlib import Path

from threefusion.machine.files import written

DIGEST = hashlib.sha256().digest_size


def write_sealed(path: Path, content: bytes) -> None:
    """Write `content` with its checksum, whole or not at all.

    Raises:
        UserError: the system refuses to write.
    """
    with written(path) as temporary, temporary.open("wb") as file:
        file.write(hashlib.sha256(content).digest())
        file.write(content)


def read_sealed(path: Path) -> bytes:
    """What was written.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ValueError: it is damaged.
    """
    content = path.read_bytes()
    if hashlib.sha256(memoryview(content)[DIGEST:]).digest() != content[:DIGEST]:
        raise ValueError("its checksum is wrong")
    return content[DIGEST:]
