"""The U-Net of the bundled models is diffusers' own, written again."""

from __future__ import annotations

import pytest
import torch
from diffusers import UNet2DConditionModel

from threefusion.guidance.prior.model_settings import ALL_FIELDS, class_defaults, model_settings
from threefusion.guidance.prior.models import BUNDLED
from threefusion.guidance.prior.pixel import PixelPrior
from threefusion.guidance.prior.reading import read_network
from threefusion.guidance.prior.settings import PixelConfig
from threefusion.guidance.prior.small_unet import FIXED, SmallUNet, fits

TINY = FIXED | {
    "in_channels": 3,
    "out_channels": 6,
    "block_out_channels": (8, 16),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "attention_head_dim": 2,
    "cross_attention_dim": 12,
    "addition_embed_type_num_heads": 2,
}


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({}, 8),
        ({"layers_per_block": 2, "norm_eps": 1e-2}, 7),  # halved to 4, and back to 7
        ({"encoder_hid_dim": 10, "encoder_hid_dim_type": "text_proj"}, 8),
        ({"down_block_types": ("CrossAttnDownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2}, 8),
        ({"block_out_channels": (8, 8, 16), "down_block_types": ("DownBlock2D",) * 3, "up_block_types": ("UpBlock2D",) * 3}, 12),
    ],
)
def test_it_computes_what_diffusers_computes(changes, size: int) -> None:
    settings = class_defaults("UNet2DConditionModel") | TINY | changes
    torch.manual_seed(0)
    theirs = UNet2DConditionModel(**settings).eval()
    for parameter in theirs.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    assert fits(settings)
    ours = SmallUNet(settings)
    ours.load_state_dict(theirs.state_dict())
    text = settings["encoder_hid_dim"] or settings["cross_attention_dim"]
    inputs = torch.randn(2, 3, size, size), torch.tensor([20.0, 700.0]), torch.randn(2, 5, text)
    with torch.no_grad():
        assert torch.allclose(ours(*inputs)[0], theirs(*inputs, return_dict=False)[0], atol=1e-5)


@pytest.mark.parametrize("name", ["toyworld-pixel", "toyworld-latent"])
def test_bundled_networks_differ_by_less_than_their_precision(name: str) -> None:
    settings = model_settings(BUNDLED / name, "unet")
    assert fits(settings)
    theirs = read_network(UNet2DConditionModel, BUNDLED / name / "unet", torch.float32)
    ours = SmallUNet(settings)
    ours.load_state_dict(theirs.state_dict())
    size = settings["sample_size"]
    inputs = torch.randn(1, settings["in_channels"], size, size), torch.tensor([500.0]), torch.randn(1, 16, 64)
    with torch.no_grad():
        exact, same = theirs(*inputs, return_dict=False)[0], ours(*inputs).sample
        assert (same - exact).norm() < 1e-5 * exact.norm()
        halves = [values.bfloat16() if values.ndim > 1 else values for values in inputs]
        half = theirs.bfloat16()(*halves, return_dict=False)[0].float(), ours.bfloat16()(*halves)[0].float()
    errors = [(values - exact).norm() / exact.norm() for values in half]
    assert errors[1] < 1.2 * errors[0]


@pytest.mark.parametrize("field", sorted(FIXED))
def test_other_networks_are_left_to_diffusers(field: str) -> None:
    settings = class_defaults("UNet2DConditionModel") | TINY
    assert fits(settings) and not fits(settings | {field: "another"})


def test_networks_that_differ_in_what_has_several_values_are_left_to_diffusers() -> None:
    settings = class_defaults("UNet2DConditionModel") | TINY
    for other in (
        {"layers_per_block": (1, 2)},
        {"attention_head_dim": (2, 4)},
        {"cross_attention_dim": (12, 12)},
        {"encoder_hid_dim": 10},
        {"encoder_hid_dim": 10, "encoder_hid_dim_type": "text_image_proj"},
        {"up_block_types": ("SimpleCrossAttnUpBlock2D", "UpBlock2D")},
    ):
        assert not fits(settings | other), other


def test_the_bundled_prior_uses_it_in_the_precision_of_its_file() -> None:
    prior = PixelPrior(PixelConfig(model="toyworld-pixel"))
    network = prior.stored_network("unet", None)
    assert isinstance(network, SmallUNet) and next(network.parameters()).dtype == torch.float16
    assert not network.training and not any(parameter.is_meta for parameter in network.parameters())
    # where user files change weights, their names are those of diffusers' modules
    assert isinstance(prior.stored_network("unet", torch.float32), UNet2DConditionModel)


@pytest.mark.parametrize("name", sorted(ALL_FIELDS))
def test_a_file_with_all_fields_is_read_as_by_diffusers(name: str) -> None:
    known = class_defaults(name).keys()
    assert ALL_FIELDS[name] <= known, "diffusers has dropped a field"
    part = "unet" if name == "UNet2DConditionModel" else "scheduler"
    settings = model_settings(BUNDLED / "toyworld-pixel", part)
    assert settings.keys() - {"_diffusers_version"} == ALL_FIELDS[name] | {"_class_name"}
