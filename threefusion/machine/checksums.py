"""Checksums of model files, verified once and remembered. Loads no torch."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from contextlib import suppress
from pathlib import Path

SUMS = "SHA256SUMS"
"""The file in a model folder that lists its checksums, as `sha256sum` writes it."""


def cache_folder() -> Path:
    """`THREEFUSION_CACHE` if set, else the platform's cache folder."""
    if chosen := os.environ.get("THREEFUSION_CACHE"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "threefusion"


def damage(file: Path) -> str | None:
    """How a file differs from the checksum that was published with it; None if it does not differ, or there is none.

    What was verified is not read again while path, size and modification time stay as they are.
    """
    expected, source = published(file)
    if expected is None:
        return None
    stat = file.stat()
    key = f"{file.resolve()}\0{stat.st_size}\0{stat.st_mtime_ns}\0{expected}"
    receipt = cache_folder() / "verified" / hashlib.sha256(key.encode()).hexdigest()
    if os.path.exists(receipt):  # unlike Path.exists, also where the cache may not be read
        return None
    if expected not in checksums(file, len(expected)):
        return f"{file} is damaged or was changed: it does not have the checksum of {source}"
    with suppress(OSError):
        receipt.parent.mkdir(parents=True, exist_ok=True)
        receipt.touch()
    return None


def published(file: Path) -> tuple[str | None, str]:
    """The checksum of a model file and where it stands: its model's SHA256SUMS, the hub's cache, the notes of `hf download`."""
    stored, file = file.resolve(), file.absolute()
    if stored.parent.name == "blobs":
        return _hexadecimal(stored.name), "the hub"
    for folder in file.parents[:2]:
        path, sums = file.relative_to(folder).as_posix(), folder / SUMS
        note = folder / ".cache" / "huggingface" / "download" / f"{path}.metadata"
        if sums.is_file():
            lines = (line.partition("  ") for line in sums.read_text(encoding="utf-8", errors="replace").splitlines())
            return next((_hexadecimal(digest) for digest, _, name in lines if name == path), None), str(sums)
        # a file that was changed after its download is the user's own
        if note.is_file() and file.stat().st_mtime <= note.stat().st_mtime + 1:
            return _hexadecimal("".join(note.read_text(encoding="utf-8", errors="replace").splitlines()[1:2])), "the hub"
    return None, ""


def checksums(file: Path, length: int = 64) -> list[str]:
    """The SHA-256 of a file; for a shorter `length` its SHA-1 and the one of git, which the hub has for small files."""
    if length == 64:
        digests = [hashlib.sha256()]
    else:
        heads = (b"", f"blob {file.stat().st_size}\0".encode())
        digests = [hashlib.sha1(head, usedforsecurity=False) for head in heads]
    with file.open("rb") as stream:
        while block := stream.read(2**20):
            for digest in digests:
                digest.update(block)
    return [digest.hexdigest() for digest in digests]


def write_sums(folder: Path) -> None:
    """Write the SHA256SUMS of a model folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in (SUMS, "README.md"))
    lines = [f"{checksums(path)[0]}  {path.relative_to(folder).as_posix()}\n" for path in files]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")


def _hexadecimal(text: str) -> str | None:
    return text if re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", text) else None
