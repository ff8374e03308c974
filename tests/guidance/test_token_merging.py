"""Token merging: what is merged and given back, the error it makes, and where it is refused."""

import pytest
import torch
from torch.nn.functional import normalize

from threefusion.config.catalogue import settings_class
from threefusion.guidance.prior.conditioning import Conditioning
from threefusion.guidance.prior.execution import runner
from threefusion.guidance.prior.files import ModelError
from threefusion.guidance.prior.settings import CriticConfig
from threefusion.guidance.prior.token_merging import MergedTokens, merge_tokens
from threefusion.registry import build


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def unet(seed=0):
    """Shaped as Stable Diffusion's, with attention over the whole map of 16 x 16 and over one of 8 x 8."""
    from diffusers import UNet2DConditionModel

    torch.manual_seed(seed)
    return UNet2DConditionModel(
        sample_size=16, block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8, cross_attention_dim=8,
        attention_head_dim=4, down_block_types=("CrossAttnDownBlock2D",) * 2, up_block_types=("CrossAttnUpBlock2D",) * 2,
    ).eval().requires_grad_(False)  # fmt: skip


@torch.no_grad()
def output(network):
    return network(drawn(2, 4, 16, 16), torch.tensor([100, 700]), drawn(2, 5, 8, seed=1), return_dict=False)[0]


@pytest.mark.parametrize("share", [0.25, 0.5, 0.75])
def test_as_many_tokens_are_left_as_were_not_merged_and_each_comes_back(share):
    x = drawn(2, 64, 6)
    tokens = MergedTokens(x, share)
    merged = tokens.merge(x)
    assert merged.shape == (2, 64 - int(64 * share), 6)
    back = tokens.unmerge(merged)
    for whole, few, item in zip(x, merged, back, strict=True):
        # each token has the value of one that is left; what was not merged is as it was
        assert (item[:, None] == few).all(-1).any(1).all()
        assert (whole == item).all(1).sum() >= 64 - 2 * int(64 * share)


def test_it_is_a_mean_over_the_most_similar_tokens():
    """A plain twin: pair by pair, in a loop."""
    x, share = drawn(1, 16, 3), 0.25
    side, cells = 4, [(row, column) for row in (0, 2) for column in (0, 2)]
    receivers = [row * side + column for row, column in cells]
    others = [index for index in range(16) if index not in receivers]
    unit = normalize(x[0], dim=-1)
    best = {one: max((torch.dot(unit[one], unit[to]).item(), to) for to in receivers) for one in others}
    merged = sorted(others, key=lambda one: -best[one][0])[:4]
    expected = x[0].clone()
    for receiver in receivers:
        group = [receiver, *(one for one in merged if best[one][1] == receiver)]
        expected[group] = x[0][group].mean(0)
    tokens = MergedTokens(x, share)
    torch.testing.assert_close(tokens.unmerge(tokens.merge(x))[0], expected)


def test_equal_tokens_lose_nothing():
    cells = drawn(1, 4, 4, 5)
    x = cells.repeat_interleave(2, 1).repeat_interleave(2, 2).reshape(1, 64, 5)
    tokens = MergedTokens(x, 0.75)
    torch.testing.assert_close(tokens.unmerge(tokens.merge(x)), x)


def test_the_error_grows_with_the_share_and_0_is_the_network_itself():
    exact, errors = output(unet()), []
    for share in (0.1, 0.25, 0.5, 0.75):
        network = unet()
        merge_tokens(network, share, 16)
        errors.append(((output(network) - exact).norm() / exact.norm()).item())
    assert 0 < errors[0] < errors[-1] < 0.1 and errors == sorted(errors)
    assert not settings_class("prior", "latent")().token_merging


def test_only_the_largest_map_is_merged_and_only_in_self_attention():
    network = unet()
    merge_tokens(network, 0.5, 16)
    merged = {name for name, processor in network.attn_processors.items() if type(processor).__name__ == "MergedAttention"}
    assert merged and all(".attn1." in name and name.startswith(("down_blocks.0.", "up_blocks.1.")) for name in merged)
    assert len(merged) == 3  # one layer on the way down, two on the way up


def prior(pipelines, kind="latent", **settings):
    return build(settings_class("prior", kind)(model=str(pipelines["sd-epsilon"]), **{"dtype": "float32"} | settings))


def predicted(own, differentiable=False):
    z = drawn(2, *own.shape).requires_grad_(differentiable)
    return z, own.predict(z, torch.tensor([0.1, 0.8]), Conditioning(drawn(2, 77, 32, seed=1))).noise


def test_a_prior_predicts_with_it_view_by_view_and_can_be_differentiated(pipelines):
    (_, exact), (z, merged) = predicted(prior(pipelines)), predicted(prior(pipelines, token_merging=0.5), True)
    assert 0 < (merged - exact).norm() < 0.2 * exact.norm()
    (gradient,) = torch.autograd.grad(merged.square().sum(), z)
    assert gradient.isfinite().all() and gradient.abs().amax((1, 2, 3)).min() > 0
    own = prior(pipelines, token_merging=0.5)
    alone = own.predict(z[1:], torch.tensor([0.8]), Conditioning(drawn(2, 77, 32, seed=1)[1:])).noise
    torch.testing.assert_close(alone, merged[1:], rtol=1e-4, atol=1e-5)


def test_a_critic_begins_as_the_prior_is(pipelines):
    own = prior(pipelines, token_merging=0.5)
    z, expected = predicted(own)
    condition = Conditioning(drawn(2, 77, 32, seed=1))
    critic = own.critic(CriticConfig())
    found = critic(z, torch.tensor([0.1, 0.8]), condition, torch.zeros(2, 16)).noise
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_openvino_runs_it():
    pytest.importorskip("openvino")
    network = unet()
    merge_tokens(network, 0.5, 16)
    inputs = drawn(2, 4, 16, 16), torch.tensor([100, 700]), drawn(2, 5, 8, seed=1)
    (found,) = runner(network, "openvino", torch.device("cpu"), return_dict=False)(*inputs)
    assert (found - output(network)).norm() < 1e-3 * found.norm()


@pytest.mark.parametrize("kind", ["multi-view", "flow"])
def test_networks_without_such_attention_refuse_it_by_name(kind):
    with pytest.raises(ValueError, match=r"^token_merging: for U-Nets whose attention spans one image"):
        settings_class("prior", kind)(token_merging=0.5)


def test_a_map_with_an_odd_side_is_refused(pipelines):
    with pytest.raises(ModelError, match="token_merging: expected latents whose side is a multiple of 4, not 9"):
        prior(pipelines, token_merging=0.5, image_size=72).load()
