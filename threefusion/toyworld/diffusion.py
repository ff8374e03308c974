"""The denoising loss that both bundled priors are trained with."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

if TYPE_CHECKING:
    from diffusers import DDPMScheduler, UNet2DConditionModel

SNR_LIMIT = 50.0


def v_loss(
    unet: nn.Module,
    clean: Float[Tensor, "B C h w"],
    embedding: Float[Tensor, "B L D"],
    scheduler: DDPMScheduler,
    generator: torch.Generator,
) -> Float[Tensor, ""]:
    """Mean squared error of v = sqrt(ᾱ) ε - sqrt(1-ᾱ) x, weighed by (min(snr, 50) + 1) / (snr + 1).

    Min-SNR weighting (arXiv 2303.09556) with one added: without it the noisiest steps, where composition and the words' meaning
    are decided, would hardly count under v-prediction. A limit of 5, usual for large pictures, left noise in flat backgrounds
    and ragged edges at 32 pixels.
    One network channel for each channel of `clean` is trained; further ones are left alone.
    """
    count = len(clean)
    # stratified over the batch: each batch sees all noise levels
    position = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    timestep = (position * scheduler.config.num_train_timesteps).long()
    noise = torch.randn(clean.shape, generator=generator)
    alpha = scheduler.alphas_cumprod[timestep].view(-1, 1, 1, 1)
    noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
    target = alpha.sqrt() * noise - (1 - alpha).sqrt() * clean
    predicted = predict(unet, noisy, timestep, embedding)[:, : clean.shape[1]]
    snr = alpha / (1 - alpha).clamp_min(1e-8)
    weight = (snr.clamp_max(SNR_LIMIT) + 1) / (snr + 1)
    return (weight * (predicted - target).square()).mean()


def predict(
    unet: nn.Module, noisy: Float[Tensor, "B C h w"], timestep: Int[Tensor, "B"], embedding: Float[Tensor, "B L D"]
) -> Float[Tensor, "B c h w"]:
    """The network's output, computed in bfloat16: several times faster on processors that have it."""
    noisy = noisy.contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        return unet(noisy, timestep, embedding, return_dict=False)[0].float()


def prepare_unet(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """The network laid out for training on a CPU."""
    from diffusers.models.attention_processor import AttnProcessor

    # torch's fused attention is several times slower than the plain one in a bfloat16 backward pass on CPUs
    unet.set_attn_processor(AttnProcessor())
    return unet.to(memory_format=torch.channels_last)
