"""The embedding cache: keyed by everything that matters, never half written, never trusted blindly."""

import threading

import pytest
import torch

from threefusion.guidance.prior.conditioning import Conditioning
from threefusion.guidance.prior.embedding_cache import cache_folder, embed_texts, entry_path
from threefusion.guidance.prior.prior import TextEncoder


class Letters(TextEncoder):
    """One token per text: its length, times a factor; counts what it was asked."""

    def __init__(self, key: str | None = "model@1/float32/77", factor: float = 1.0) -> None:
        self.key = key
        self.factor = factor
        self.asked: list[str] = []

    def encode(self, texts: list[str]) -> Conditioning:
        self.asked += texts
        return Conditioning(self.factor * torch.tensor([[[float(len(text))]] for text in texts]))


def test_a_text_is_encoded_once(tmp_path):
    first, second = Letters(), Letters()
    expected = embed_texts(first, ["a", "bb", "a"], tmp_path)
    assert first.asked == ["a", "bb"]
    assert expected.tokens.flatten().tolist() == [1, 2, 1]
    assert torch.equal(embed_texts(second, ["a", "bb", "a"], tmp_path).tokens, expected.tokens)
    assert second.asked == []


def test_only_missing_texts_are_encoded(tmp_path):
    embed_texts(Letters(), ["a"], tmp_path)
    encoder = Letters()
    assert embed_texts(encoder, ["bb", "a"], tmp_path).tokens.flatten().tolist() == [2, 1]
    assert encoder.asked == ["bb"]


@pytest.mark.parametrize("key", ["model@2/float32/77", "other@1/float32/77", "model@1/bfloat16/77", "model@1/float32/16"])
def test_another_model_revision_precision_or_length_is_another_entry(tmp_path, key):
    embed_texts(Letters(), ["a"], tmp_path)
    encoder = Letters(key, factor=5)
    assert embed_texts(encoder, ["a"], tmp_path).tokens.item() == 5


def test_key_and_text_cannot_run_into_each_other(tmp_path):
    assert entry_path(tmp_path, "ab", "c") != entry_path(tmp_path, "a", "bc")


@pytest.mark.parametrize("damage", [b"", b"garbage", "half", "other"])
def test_a_damaged_entry_is_made_anew(tmp_path, damage):
    embed_texts(Letters(), ["a"], tmp_path)
    path = entry_path(tmp_path, Letters().key, "a")
    whole = path.read_bytes()
    path.write_bytes({"half": whole[: len(whole) // 2], "other": whole.replace(b"tokens", b"nekots")}.get(damage, damage))
    encoder = Letters()
    assert embed_texts(encoder, ["a"], tmp_path).tokens.item() == 1
    assert encoder.asked == ["a"]
    assert path.read_bytes() == whole


def test_a_write_that_fails_leaves_nothing_behind(tmp_path, monkeypatch):
    def refuse(source, target):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", refuse)
    assert embed_texts(Letters(), ["a"], tmp_path).tokens.item() == 1
    assert list((tmp_path / "embeddings").iterdir()) == []


def test_a_cache_that_cannot_be_made_costs_no_run(tmp_path, heard):
    (tmp_path / "file").touch()
    assert embed_texts(Letters(), ["a"], tmp_path / "file").tokens.item() == 1
    assert "cannot be cached" in str(heard)


def test_readers_never_see_a_half_written_entry(tmp_path):
    """Writers replace one entry over and over while readers look: each look gets a whole entry."""
    big = Conditioning(torch.arange(200_000.0)[None, None])

    class Slow(Letters):
        def encode(self, texts):
            super().encode(texts)
            return big.expand(len(texts))

    embed_texts(Slow(), ["a"], tmp_path)
    path, stop, lookups = entry_path(tmp_path, Letters().key, "a"), threading.Event(), []

    def rewrite():
        from threefusion.guidance.prior.embedding_cache import write_entry

        while not stop.is_set():
            write_entry(path, big)

    writer = threading.Thread(target=rewrite)
    writer.start()
    for _ in range(50):
        reader = Slow()
        embed_texts(reader, ["a"], tmp_path)
        lookups += reader.asked
    stop.set()
    writer.join()
    assert lookups == []


def test_an_encoder_without_key_is_not_cached(tmp_path):
    encoder = Letters(key=None)
    embed_texts(encoder, ["a"], tmp_path)
    embed_texts(encoder, ["a"], tmp_path)
    assert encoder.asked == ["a", "a"]
    assert not (tmp_path / "embeddings").exists()


def test_where_the_cache_lies(monkeypatch, tmp_path):
    monkeypatch.setenv("THREEFUSION_CACHE", str(tmp_path / "own"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("THREEFUSION_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    assert cache_folder() == tmp_path / "threefusion"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "threefusion"


def test_pooled_embeddings_are_cached_with_the_tokens(tmp_path):
    class Pooled(Letters):
        def encode(self, texts):
            tokens = super().encode(texts).tokens
            return Conditioning(tokens, pooled=10 * tokens[:, 0])

    embed_texts(Pooled(), ["a"], tmp_path)
    again = embed_texts(encoder := Pooled(), ["bb", "a"], tmp_path)
    assert encoder.asked == ["bb"]
    assert again.pooled.flatten().tolist() == [20, 10] and again.camera is None
