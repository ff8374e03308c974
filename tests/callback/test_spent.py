"""What a run asks of its prior is counted, and the answers are the prior's own."""

import torch

from threefusion.callback.spent import Spent
from threefusion.guidance.prior.settings import GaussianConfig
from threefusion.registry import build


def test_calls_and_pictures_are_counted_and_nothing_is_changed():
    prior = build(GaussianConfig(image_size=4))
    z, timesteps, tokens = torch.randn(6, 3, 4, 4), torch.full((6,), 500), prior.text_encoder().encode(["a"]).expand(6, -1, -1)
    expected = prior.predict_noise(z, timesteps, tokens)
    asked = Spent()
    asked.count(prior)
    assert torch.equal(prior.predict_noise(z, timesteps, tokens), expected)
    prior.predict_noise(z[:2], timesteps[:2], tokens[:2])
    assert (asked.calls, asked.images) == (2, 8)
