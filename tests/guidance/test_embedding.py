"""The texts of a run as conditioning of views."""

import pytest
import torch

from threefusion.guidance.embedding import TextEmbeddings
from threefusion.guidance.prior.conditioning import Conditioning
from threefusion.types import ViewTexts

NAMES = ["front", "back", "", "ugly", "blurry"]
TABLE = TextEmbeddings(NAMES, Conditioning(torch.eye(5)[:, None], pooled=2 * torch.eye(5)))


def test_texts_are_mixed_by_their_shares_and_the_others_kept_apart():
    prompt = ViewTexts(("back", "front"), torch.tensor([[1.0, 0.0], [0.25, 0.75]]), ("ugly", "blurry"))
    found = TABLE(prompt)
    assert found.text.tokens[:, 0].tolist() == [[0, 1, 0, 0, 0], [0.75, 0.25, 0, 0, 0]]
    assert torch.equal(found.text.pooled, 2 * found.text.tokens[:, 0])
    assert found.uncond.tokens[:, 0].tolist() == [[0, 0, 1, 0, 0]] * 2
    assert [len(negative) for negative in found.negatives] == [2, 2]
    assert found.negatives[1].pooled[1].tolist() == [0, 0, 0, 0, 2]


def test_a_text_that_was_not_embedded_is_an_error():
    with pytest.raises(KeyError):
        TABLE(ViewTexts(("side",), torch.ones(1, 1)))


def test_embeddings_are_in_no_checkpoint_but_follow_the_module():
    table = TextEmbeddings(NAMES, Conditioning(torch.eye(5)[:, None], pooled=torch.eye(5)))
    assert table.state_dict() == {}
    table.to("meta")
    assert table.tokens.device.type == table.pooled.device.type == "meta"


def test_items_are_indexed_repeated_and_joined():
    items = Conditioning(torch.arange(3.0)[:, None, None], image=torch.ones(3, 1, 2, 2))
    both = Conditioning.cat([items[1:], items.repeat(2)])
    assert both.tokens.flatten().tolist() == [1, 2, 0, 1, 2, 0, 1, 2]
    assert both.image.shape == (8, 1, 2, 2) and both.pooled is None
