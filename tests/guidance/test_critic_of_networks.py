"""LoRA on the prior's own network: what it shares, what it trains, and that the prior never notices."""

import pytest
import torch
from torch import nn

from threefusion.config.catalogue import settings_class
from threefusion.errors import UserError
from threefusion.guidance.prior.adapter import AdaptedCritic, attention_layers
from threefusion.guidance.prior.settings import CriticConfig, PixelConfig
from threefusion.registry import build

KINDS = {"if-6": "pixel", "if-3": "pixel", "sd-v": "latent"}


def inputs(prior, count=2):
    random = torch.Generator().manual_seed(0)
    z, noise = torch.randn(2, count, *prior.shape, generator=random)
    t, pose = torch.linspace(0.2, 0.8, count), torch.randn(count, 16, generator=random)
    return z, noise, t, prior.text_encoder().encode(["a red ball"] * count), pose


def trained(prior, cfg=None, steps=2):
    """A critic after some steps on noise."""
    critic = prior.critic(cfg or CriticConfig())
    z, noise, t, text, pose = inputs(prior)
    optimizer = torch.optim.Adam(critic.parameters(), 1e-2)
    for _ in range(steps):
        critic.loss(z, noise, t, text, pose).backward()
        optimizer.step()
        optimizer.zero_grad()
    return critic


def prior_of(pipelines, name, **settings):
    return build(settings_class("prior", KINDS[name])(model=str(pipelines[name]), **{"dtype": "float32", **settings}))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("name", KINDS)
def test_the_prior_answers_bit_for_bit_as_without_a_critic(pipelines, name, dtype):
    prior = prior_of(pipelines, name, dtype=dtype)
    z, _, t, text, pose = inputs(prior)
    before = prior.predict(z, t, text).output
    weights = {key: value.clone() for key, value in prior._networks[prior.parts[0]].state_dict().items()}
    new = prior.critic(CriticConfig())
    assert torch.equal(new(z, t, text, pose).output, before), "not trained yet"
    critic = trained(prior)
    assert not torch.equal(critic(z, t, text, pose).output, before)
    assert torch.equal(prior.predict(z, t, text).output, before)
    after = prior._networks[prior.parts[0]].state_dict()
    assert after.keys() == weights.keys() and all(torch.equal(after[key], weights[key]) for key in weights)
    assert not any(parameter.requires_grad for parameter in prior._networks[prior.parts[0]].parameters())


def test_the_frozen_weights_are_shared_and_stay_out_of_the_critics_state(pipelines):
    prior = prior_of(pipelines, "if-6", dtype="bfloat16")
    critic = prior.critic(CriticConfig())
    theirs = {value.data_ptr() for value in prior._networks["unet"].parameters()}
    adapted = critic.twin._networks["unet"]
    assert {value.data_ptr() for value in adapted.parameters() if not value.requires_grad} == theirs
    own = {id(value) for value in critic.parameters()}
    assert own == {id(value) for value in adapted.parameters() if value.requires_grad}
    assert len(critic.state_dict()) == len(own)
    assert all(value.requires_grad and value.dtype == torch.float32 for value in critic.parameters())
    z, _, t, text, pose = inputs(prior)
    critic(z, t, text, pose)
    assert all(value.dtype == torch.float32 for value in critic.parameters()), "a cast of the network leaves them alone"
    assert next(prior._networks["unet"].parameters()).dtype == torch.bfloat16


def test_it_is_deterministic_although_the_system_trains(pipelines):
    prior = prior_of(pipelines, "if-6")
    critic = trained(prior).train()
    z, _, t, text, pose = inputs(prior)
    assert torch.equal(critic(z, t, text, pose).output, critic(z, t, text, pose).output)


def test_every_part_is_trained_in_half_precision_too(pipelines):
    prior = prior_of(pipelines, "if-6", dtype="float16")
    critic = trained(prior)
    z, noise, t, text, pose = inputs(prior)
    critic.loss(z, noise, t, text, pose).backward()
    assert all(value.grad.isfinite().all() and value.grad.any() for value in critic.parameters())


def test_the_camera_matters_once_it_is_trained_and_can_be_left_out(pipelines):
    prior = prior_of(pipelines, "if-6")
    z, _, t, text, pose = inputs(prior)
    critic = trained(prior)
    assert not torch.equal(critic(z, t, text, pose).output, critic(z, t, text, 0 * pose).output)
    without = trained(prior, CriticConfig(camera=False))
    assert torch.equal(without(z, t, text, pose).output, without(z, t, text, 0 * pose).output)


def test_rank_and_alpha_are_honoured(pipelines):
    prior = prior_of(pipelines, "if-6")
    critic = prior.critic(CriticConfig(rank=3, alpha=6.0))
    pairs = list(critic.lora.values())
    assert all(down.weight.shape[0] == up.weight.shape[1] == 3 for down, up in pairs)
    layer = critic.twin._networks["unet"].get_submodule(next(iter(critic.lora)).replace("/", "."))
    down, up = layer.lora_A["critic"], layer.lora_B["critic"]
    nn.init.normal_(up.weight, generator=torch.Generator().manual_seed(0))
    x = torch.randn(5, down.in_features, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(layer(x), layer.base_layer(x) + 2 * x @ down.weight.T @ up.weight.T)


@pytest.mark.parametrize("name", KINDS)
def test_all_projections_of_attention_are_adapted_and_nothing_else(pipelines, name):
    from diffusers.models.attention_processor import Attention

    prior = prior_of(pipelines, name)
    prior.load()
    unet = prior._networks["unet"]
    blocks = [block for block in unet.modules() if isinstance(block, Attention)]
    expected = {id(layer) for block in blocks for layer in block.modules() if isinstance(layer, nn.Linear)}
    assert {id(unet.get_submodule(layer)) for layer in attention_layers(unet)} == expected
    assert len(expected) >= 4 * len(blocks)


def test_networks_that_cannot_have_a_critic_are_refused():
    with pytest.raises(UserError, match="Sequential has no attention layers that LoRA could change"):
        AdaptedCritic(nn.Sequential(nn.Linear(2, 2)), CriticConfig(), lambda network: None)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.to_q = nn.Linear(2, 2)

    with pytest.raises(UserError, match=r"guidance\.critic\.camera: Sequential has none of time_embedding"):
        AdaptedCritic(nn.Sequential(Block()), CriticConfig(), lambda network: None)


@pytest.mark.parametrize("execution", ["compile", "cuda-graph"])
def test_the_priors_execution_is_not_that_of_the_critic(pipelines, execution):
    prior = prior_of(pipelines, "if-6", execution=execution)
    prepared = []
    prior.prepare = lambda network, execution, **options: (
        prepared.append(network) or (lambda *values: network(*values, **options))
    )
    z, _, t, text, pose = inputs(prior)
    critic = prior.critic(CriticConfig())
    critic.twin.__dict__.pop("prepare")
    assert torch.equal(prior.predict(z, t, text).output, critic(z, t, text, pose).output)
    assert prepared == [prior._networks["unet"]]
    assert critic.twin.cfg.execution == "eager"


def test_offloading_is_refused():
    from threefusion.guidance.settings import VSDConfig

    with pytest.raises(ValueError, match=r"prior\.offload: not with a critic"):
        VSDConfig(prior=PixelConfig(offload=True))
