"""A flipped bit in a model or a cached embedding is noticed, once and not at every start."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path

import pytest
import torch

from threefusion.evaluate.text_image import JudgeError, load_judge
from threefusion.guidance.prior.conditioning import Conditioning
from threefusion.guidance.prior.embedding_cache import entry_path, read_entry, write_entry
from threefusion.guidance.prior.files import ModelError
from threefusion.guidance.prior.models import BUNDLED, resolve
from threefusion.machine import checksums
from threefusion.machine.checksums import SUMS, damage, write_sums

CONTENT = b"weights of a network" * 100


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("THREEFUSION_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def flip(path: Path, bit: int) -> None:
    """Flip a bit as a disk does: the modification time stays."""
    stat, content = path.stat(), bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def in_hub_cache(folder: Path, name: str) -> Path:
    """A file as the hub's cache holds it: a link to a blob named by its checksum."""
    blob = folder / "models--a--b" / "blobs" / name
    link = folder / "models--a--b" / "snapshots" / "c0ffee" / "unet" / "model.safetensors"
    for path in (blob, link):
        path.parent.mkdir(parents=True)
    blob.write_bytes(CONTENT)
    link.symlink_to(blob)
    return link


def as_downloaded(folder: Path) -> Path:
    """A file as `hf download --local-dir` leaves it, with its note."""
    file = folder / "unet" / "model.safetensors"
    note = folder / ".cache" / "huggingface" / "download" / "unet" / "model.safetensors.metadata"
    for path in (file, note):
        path.parent.mkdir(parents=True)
    file.write_bytes(CONTENT)
    note.write_text(f"c0ffee\n{hashlib.sha256(CONTENT).hexdigest()}\n{file.stat().st_mtime}\n")
    return file


def with_sums(folder: Path) -> Path:
    """A file that its model's SHA256SUMS lists."""
    file = folder / "unet" / "model.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes(CONTENT)
    write_sums(folder)
    return file


KINDS = {
    "large file of the hub": lambda folder: in_hub_cache(folder, hashlib.sha256(CONTENT).hexdigest()),
    "small file of the hub": lambda folder: in_hub_cache(
        folder, hashlib.sha1(f"blob {len(CONTENT)}\0".encode() + CONTENT).hexdigest()
    ),
    "file of a mirror": lambda folder: in_hub_cache(folder, hashlib.sha1(CONTENT).hexdigest()),
    "hf download": as_downloaded,
    "SHA256SUMS": with_sums,
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_is_named(kind: str, tmp_path: Path) -> None:
    file = KINDS[kind](tmp_path / "model")
    flip(file, 1234)
    assert damage(file).startswith(f"{file} is damaged or was changed: it does not have the checksum of ")


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_verified_is_read_again_only_if_it_changes(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, reads = KINDS[kind](tmp_path / "model"), []
    hashed = checksums.checksums
    monkeypatch.setattr(checksums, "checksums", lambda *given: reads.append(given) or hashed(*given))
    assert [damage(file) for _ in range(3)] == [None] * 3 and len(reads) == 1
    os.utime(file, (1, 1))
    assert damage(file) is None and len(reads) == 2
    shutil.rmtree(tmp_path / "cache")
    (tmp_path / "cache").write_text("a cache that cannot be written")
    assert [damage(file) for _ in range(2)] == [None] * 2 and len(reads) == 4


def test_files_without_a_published_checksum_are_taken_as_they_are(tmp_path: Path) -> None:
    downloaded = as_downloaded(tmp_path / "tuned")
    downloaded.write_bytes(b"trained on")
    os.utime(downloaded, (2e9, 2e9))
    own = tmp_path / "own.safetensors"
    own.write_bytes(b"mine")
    cut = as_downloaded(tmp_path / "cut")
    (tmp_path / "cut" / ".cache" / "huggingface" / "download" / "unet" / "model.safetensors.metadata").write_text("c0ffee")
    assert [damage(file) for file in (downloaded, own, cut)] == [None] * 3


def test_the_sums_of_the_bundled_models_are_complete(tmp_path: Path) -> None:
    folders = [folder for folder in BUNDLED.iterdir() if folder.is_dir()]
    assert len(folders) == 3
    for folder in folders:
        shutil.copytree(folder, tmp_path / folder.name)
        write_sums(tmp_path / folder.name)
        assert (tmp_path / folder.name / SUMS).read_text() == (folder / SUMS).read_text(), f"run write_sums on {folder}"


@pytest.mark.parametrize(
    "file", ["unet/diffusion_pytorch_model.safetensors", "tokenizer/tokenizer.json", "text_encoder/config.json"]
)
def test_a_prior_with_a_flipped_bit_is_refused(file: str, tmp_path: Path) -> None:
    model = shutil.copytree(BUNDLED / "toyworld-pixel", tmp_path / "model")
    parts = ("unet", "scheduler", "text_encoder", "tokenizer")
    assert resolve(str(model), parts) == model
    path = model / file
    # a digit or a letter in a JSON file, the last weight elsewhere
    flip(path, 8 * (path.read_bytes().index(b'"') + 1) if file.endswith("json") else 8 * path.stat().st_size - 8)
    os.utime(path)
    with pytest.raises(ModelError, match=f"{file} is damaged or was changed"):
        resolve(str(model), parts)


def test_a_judge_with_a_flipped_bit_is_refused(tmp_path: Path) -> None:
    folder = shutil.copytree(BUNDLED / "toyworld-judge", tmp_path / "judge")
    flip(folder / "model.safetensors", 8 * 2_000_000)
    with pytest.raises(JudgeError, match=r"model\.safetensors is damaged"):
        load_judge(folder)


def test_no_flipped_bit_of_a_cached_embedding_is_used(tmp_path: Path) -> None:
    path = entry_path(tmp_path, "encoder", "a text")
    write_entry(path, Conditioning(torch.randn(1, 4, 8)))
    whole = path.read_bytes()
    assert read_entry(path) is not None
    for bit in range(0, 8 * len(whole), 37):
        flip(path, bit)
        assert read_entry(path) is None, bit
        path.write_bytes(whole)
