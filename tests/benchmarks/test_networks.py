"""The shapes of the real models are the real ones, and cost what they are known to cost."""

from __future__ import annotations

import pytest
import torch

from benchmarks.floors.architecture import architecture_candidates
from benchmarks.floors.architectures import ARCHITECTURES, Architecture
from benchmarks.floors.floors import work_of
from benchmarks.floors.networks import encoder_flops, meta_network, unet_flops
from threefusion.guidance.prior.models import MODELS

PARAMETERS = {"stable-diffusion-2-1-base": 865_910_724, "deepfloyd-if-xl": 4_304_695_110}
"""866 million as Stability AI gives it, 4.3 billion as DeepFloyd does; to the last one as diffusers loads them."""


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_of_the_real_models(name: str) -> None:
    assert count_parameters("unet", ARCHITECTURES[name].unet) == PARAMETERS[name]


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_plan_knows_the_number_of_parameters(name: str) -> None:
    parts = {"unet": ARCHITECTURES[name].unet, "vae": ARCHITECTURES[name].vae}
    counted = [count_parameters(part, settings) for part, settings in parts.items() if settings is not None]
    assert sum(counted) == MODELS[name].parameters


def count_parameters(part: str, settings: dict) -> int:
    return sum(parameter.numel() for parameter in meta_network(part, settings).parameters())


def test_flops_of_the_real_models() -> None:
    sd, floyd = ARCHITECTURES["stable-diffusion-2-1-base"], ARCHITECTURES["deepfloyd-if-xl"]
    assert unet_flops(sd.unet, 2, (77, 1024)) == pytest.approx(1.61e12, rel=0.01)
    assert unet_flops(sd.unet, 4, (77, 1024)) == 2 * unet_flops(sd.unet, 2, (77, 1024))
    assert unet_flops(floyd.unet, 2, (77, 4096)) == pytest.approx(5.76e12, rel=0.01)
    assert encoder_flops(sd.vae, 1, 512) == pytest.approx(2.27e12, rel=0.01)


CHANNELS = {"block_out_channels": (8, 16), "norm_num_groups": 4}
TINY = {
    "sample_size": 8,
    "cross_attention_dim": 6,
    "attention_head_dim": 4,
    "layers_per_block": 1,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
    **CHANNELS,
}
VAE = {
    "latent_channels": 4,
    "down_block_types": ("DownEncoderBlock2D",) * 2,
    "up_block_types": ("UpDecoderBlock2D",) * 2,
    **CHANNELS,
}


@pytest.mark.parametrize(
    ("architecture", "cases"),
    [
        (Architecture(TINY, 6, VAE), ["guidance", "network", "encode+backward"]),
        (Architecture(TINY | {"in_channels": 3, "out_channels": 6}, 6), ["guidance", "network"]),
    ],
)
def test_every_part_of_an_architecture_runs(architecture: Architecture, cases: list[str]) -> None:
    candidates = list(architecture_candidates(architecture, [1, 2], "float32", torch.device("cpu")))
    assert [(one.case, one.size["batch"]) for one in candidates] == [(case, batch) for batch in (1, 2) for case in cases]
    for one in candidates:
        one.call(lambda name: None)


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_guidance_call_costs_its_parts_and_twice_that_for_two_views(name: str) -> None:
    cases = ["network"] + ["encode+backward"] * (ARCHITECTURES[name].vae is not None)
    row = {"subject": "guidance", "case": "guidance", "batch": 1, "resolution": 512}
    whole = work_of(row, name).flops
    assert whole == sum(work_of(row | {"case": case}, name).flops for case in cases) > 0
    assert work_of(row | {"batch": 2}, name).flops == 2 * whole
