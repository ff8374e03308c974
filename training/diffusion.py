"""Denoising loss of both bundled priors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

if TYPE_CHECKING:
    from diffusers import DDPMScheduler, UNet2DConditionModel

SNR_LIMIT = 50.0
LATE, EXTRA = 0.15, 0.3
"""Share of the noisiest levels, and the share of a batch drawn from them; see `noise_levels`."""


def v_loss(
    unet: nn.Module,
    clean: Float[Tensor, "B C h w"],
    embedding: Float[Tensor, "B L D"],
    scheduler: DDPMScheduler,
    generator: torch.Generator,
    siblings: Float[Tensor, "b K C h w"] | None = None,
) -> Float[Tensor, ""]:
    """Mean squared error of v = sqrt(ᾱ) ε - sqrt(1-ᾱ) x, weighted by (min(snr, 50) + 1) / (snr + 1).

    Min-SNR weighting (arXiv 2303.09556) with one added: without it the noisiest steps, where composition and the words' meaning
    are decided, would hardly count under v-prediction. A limit of 5, usual for large pictures, left noise in flat backgrounds
    and ragged edges at 32 pixels.
    `siblings` are further samples of the distribution of the first pictures, which get the most noise, given their captions and
    anything else: with them, those targets are expectations over pictures instead of one picture, a stable target field (arXiv
    2302.00670).
    One network channel for each channel of `clean` is trained; further ones are left alone.
    """
    count = len(clean)
    steps = scheduler.config.num_train_timesteps
    timestep = (noise_levels(count, generator) * steps).long().clamp_max(steps - 1)
    noise = torch.randn(clean.shape, generator=generator)
    alpha = scheduler.alphas_cumprod[timestep].view(-1, 1, 1, 1)
    noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
    if siblings is not None and siblings.numel():
        first = len(siblings)
        expected = posterior_mean(noisy[:first], torch.cat([clean[:first, None], siblings], 1), alpha[:first])
        clean = torch.cat([expected, clean[first:]])
    # √ᾱ ε - √(1-ᾱ) x with ε from what `noisy` is
    target = (alpha.sqrt() * noisy - clean) / (1 - alpha).sqrt()
    predicted = predict(unet, noisy, timestep, embedding)[:, : clean.shape[1]]
    snr = alpha / (1 - alpha).clamp_min(1e-8)
    weight = (snr.clamp_max(SNR_LIMIT) + 1) / (snr + 1)
    return (weight * (predicted - target).square()).mean()


def posterior_mean(
    noisy: Float[Tensor, "b C h w"], among: Float[Tensor, "b K C h w"], alpha: Float[Tensor, "b 1 1 1"]
) -> Float[Tensor, "b C h w"]:
    """E[x | √ᾱ x + √(1-ᾱ) ε = noisy] for x uniform over `among`."""
    distance = (noisy[:, None] - alpha[:, None].sqrt() * among).flatten(2).square().sum(-1)
    weights = (-distance / (2 * (1 - alpha).flatten(1))).softmax(-1)
    return (weights[..., None, None, None] * among).sum(1)


def noise_levels(count: int, generator: torch.Generator) -> Float[Tensor, "B"]:
    """Random levels in [0, 1], stratified over the batch, with the noisiest oversampled.

    At 32 pixels a view is told from another as soon as the signal is a twentieth of the noise: what view words mean is learned in
    the noisiest `LATE` of the levels alone, so `EXTRA` of a batch is drawn from there and the rest evenly.
    """
    position = (torch.arange(count) + torch.rand(count, generator=generator)) / count
    return torch.where(position < EXTRA, 1 - LATE * (1 - position / EXTRA), (position - EXTRA) / (1 - EXTRA))


def predict(
    unet: nn.Module, noisy: Float[Tensor, "B C h w"], timestep: Int[Tensor, "B"], embedding: Float[Tensor, "B L D"]
) -> Float[Tensor, "B c h w"]:
    """The network's output in bfloat16, which is several times faster on CPUs that support it."""
    noisy = noisy.contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16):
        return unet(noisy, timestep, embedding, return_dict=False)[0].float()


def prepare_unet(unet: UNet2DConditionModel) -> UNet2DConditionModel:
    """Prepare the network for training on a CPU."""
    from diffusers.models.attention_processor import AttnProcessor

    # torch's fused attention is several times slower in the bfloat16 backward pass on CPUs
    unet.set_attn_processor(AttnProcessor())
    return unet.to(memory_format=torch.channels_last)
