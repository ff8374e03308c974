"""The direction between two descriptions of the prompt."""

import torch
from double_precision import combine, normal

from threefusion.guidance.contrast.modifiers import Modifiers
from threefusion.guidance.contrast.settings import ModifiersConfig
from threefusion.guidance.embedding import TextEmbeddings
from threefusion.guidance.prior.conditioning import Conditioning
from threefusion.types import ViewTexts

GOOD, BAD = "{prompt}, sharp", "{prompt}, blurry"
CONTRAST = Modifiers(ModifiersConfig(positive=GOOD, negative=BAD))


def test_it_is_a_direction_from_the_negative_to_the_positive_description():
    predicted = normal(0, "text", "negative")
    assert CONTRAST.cfg.is_direction
    torch.testing.assert_close(combine(CONTRAST, predicted, 3.0), 3 * (predicted["text"] - predicted["negative"]))
    predicted["negative"] = predicted["text"]
    assert combine(CONTRAST, predicted).abs().max() == 0


def test_each_view_has_its_own_descriptions():
    names = [f"a cat, {view}{end}" for view in ("front", "back") for end in ("", ", sharp", ", blurry")]
    table = TextEmbeddings([*names, ""], Conditioning(torch.arange(7.0)[:, None, None]))
    weight = torch.tensor([[1.0, 0.0], [0.5, 0.5]])
    prompt = table(ViewTexts((names[0], names[3]), weight), CONTRAST.templates)
    chosen = CONTRAST.conditions(prompt, 3.0, 0)
    assert chosen["text"].tokens.flatten().tolist() == [1.0, 2.5]
    assert chosen["negative"].tokens.flatten().tolist() == [2.0, 3.5]
