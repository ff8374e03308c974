"""A checkpoint with a flipped bit is refused, wherever the bit has an effect."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch

from threefusion.errors import UserError
from threefusion.run.checkpoint import read_checkpoint


def test_no_flipped_bit_changes_what_is_read(tmp_path: Path) -> None:
    path = tmp_path / "step-000010.ckpt"
    generator = torch.Generator().manual_seed(0)
    state = {f"layer.{index}": torch.randn(40, 5, generator=generator) for index in range(6)}
    torch.save({"state_dict": state, "global_step": 10, "name": "a text"}, path)
    whole, refused = path.read_bytes(), 0
    for bit in random.Random(0).sample(range(8 * len(whole)), 1500):
        spoiled = bytearray(whole)
        spoiled[bit // 8] ^= 1 << bit % 8
        path.write_bytes(spoiled)
        try:
            read = read_checkpoint(path)
        except UserError as error:
            assert f"{path}: cannot be read" in str(error)
            refused += 1
            continue
        assert read["global_step"] == 10 and read["name"] == "a text"
        assert all(torch.equal(read["state_dict"][name], value) for name, value in state.items())
    # the rest is padding and dates
    assert refused > 700


def test_a_flipped_bit_in_a_weight_is_named_with_its_part(tmp_path: Path) -> None:
    path = tmp_path / "step-000010.ckpt"
    torch.save({"state_dict": {"weight": torch.full((100,), 1.25)}}, path)
    content = bytearray(path.read_bytes())
    content[content.index(torch.full((2,), 1.25).numpy().tobytes()) + 40] ^= 1
    path.write_bytes(content)
    assert torch.load(path, weights_only=True)
    with pytest.raises(UserError, match=r"step-000010\.ckpt: cannot be read \(BadZipFile: bad checksum of \S+/data/0\)"):
        read_checkpoint(path)
