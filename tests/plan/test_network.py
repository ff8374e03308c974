"""Networks counted by their shapes take what the networks themselves take."""

import json

import pytest
import torch

from threefusion.config import choose
from threefusion.guidance.prior.architectures import Architecture
from threefusion.guidance.prior.models import BUNDLED
from threefusion.plan.meter import LiveTensors
from threefusion.plan.network import network_memory
from threefusion.registry import build


@pytest.mark.parametrize("model", ["toyworld-pixel", "toyworld-latent"])
def test_shapes_tell_what_the_network_takes(model):
    def read(part):
        settings = json.loads((BUNDLED / model / part / "config.json").read_text())
        return {name: value for name, value in settings.items() if not name.startswith("_")}

    kind = model.removeprefix("toyworld-")
    prior = build(choose("prior", kind, model=model, dtype="float32"))
    tokens = prior.text_encoder().encode(["a red ball"])
    architecture = Architecture(read("unet"), tokens.shape[-1], read("vae") if kind == "latent" else None)
    told = network_memory(architecture, torch.float32, 4, 8, prior.shape[1])
    prior.load()
    image = torch.rand(4, 64, 64, 3, requires_grad=True)
    z, timesteps, tokens = torch.randn(8, *prior.shape), torch.full((8,), 500), tokens.expand(8, -1, -1).contiguous()
    # each network is cast for its device at its first use
    prior.predict_noise(z, timesteps, tokens)
    prior.encode(image)
    assert told.weights == prior.weight_bytes()
    with LiveTensors() as meter, torch.no_grad():
        prior.predict_noise(z, timesteps, tokens)
        assert told.predict == pytest.approx(max(meter.lap()), rel=0.1)
    with LiveTensors() as meter:
        encoded = prior.encode(image)
        kept, encode = meter.now, max(meter.lap())
        encoded.sum().backward()
        backward = max(meter.lap())
    if kind == "latent":
        for predicted, taken in ((told.kept, kept), (told.encode, encode), (told.backward, backward)):
            assert predicted == pytest.approx(taken, rel=0.1)
