"""Random pipelines of a few megabytes, shaped as the real ones and saved with diffusers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def save_tiny_if(folder: Path, channels: int = 6, prediction_type: str = "epsilon") -> Path:
    """A pipeline shaped as stage I of DeepFloyd IF, with 3 or 6 output channels."""
    from diffusers import DDPMScheduler, IFPipeline, UNet2DConditionModel
    from transformers import T5Config, T5EncoderModel, T5Tokenizer

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=16, in_channels=3, out_channels=channels, layers_per_block=1, block_out_channels=(16, 32), norm_num_groups=8,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"), cross_attention_dim=32, encoder_hid_dim=32,
        mid_block_type="UNetMidBlock2DSimpleCrossAttn", up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        attention_head_dim=8, addition_embed_type="text", addition_embed_type_num_heads=2, cross_attention_norm="group_norm",
        resnet_time_scale_shift="scale_shift", act_fn="gelu",
    )  # fmt: skip
    pieces = [
        ("<pad>", 0.0),
        ("</s>", 0.0),
        ("<unk>", 0.0),
        ("▁", -1.0),
        *((letter, -2.0) for letter in "abcdefghijklmnopqrstuvwxyz,"),
    ]
    encoder = T5EncoderModel(
        T5Config(vocab_size=64, d_model=32, d_kv=8, d_ff=37, num_layers=2, num_heads=4, feed_forward_proj="gated-gelu")
    )
    scheduler = DDPMScheduler(
        beta_schedule="squaredcos_cap_v2", variance_type="learned_range" if channels == 6 else "fixed_small",
        prediction_type=prediction_type, thresholding=True, dynamic_thresholding_ratio=0.95, sample_max_value=1.5,
    )  # fmt: skip
    IFPipeline(
        tokenizer=T5Tokenizer(vocab=pieces, extra_ids=0), text_encoder=encoder, unet=unet, scheduler=scheduler,
        safety_checker=None, feature_extractor=None, watermarker=None, requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def clip_vocabulary() -> dict[str, int]:
    """All letters, alone and at the end of a word."""
    symbols = [chr(code) for code in range(33, 127)]
    ends = ["<|startoftext|>", "<|endoftext|>"]
    return {symbol: i for i, symbol in enumerate([*symbols, *(f"{symbol}</w>" for symbol in symbols), *ends])}


def clip_tokenizer(pad: str = "<|endoftext|>"):
    """CLIP's tokenizer; the second one of Stable Diffusion XL and 3 pads with an exclamation mark."""
    from transformers import CLIPTokenizer

    return CLIPTokenizer(vocab=clip_vocabulary(), merges=[], model_max_length=77, pad_token=pad)


def clip(width: int = 32, projected: bool = False, **settings):
    """A CLIP text encoder, with the projection of the whole text if `projected`."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    end = len(clip_vocabulary()) - 1
    config = CLIPTextConfig(
        vocab_size=end + 1, hidden_size=width, intermediate_size=37, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=77, bos_token_id=end - 1, eos_token_id=end, **settings,
    )  # fmt: skip
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def autoencoder(channels: int = 4, **settings):
    """An autoencoder of a pixel in eight."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=(16,) * 4, down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=channels, norm_num_groups=8, layers_per_block=1, sample_size=64, **settings,
    )  # fmt: skip


STABLE = {
    "beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False, "set_alpha_to_one": False,
    "steps_offset": 1,
}  # fmt: skip
"""Stable Diffusion's noise schedule."""


def save_tiny_sd(folder: Path, prediction_type: str = "epsilon", **text: Any) -> Path:
    """A pipeline shaped as Stable Diffusion, at 64 pixels: 8 x 8 latents; `text` changes its text encoder."""
    from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32, attention_head_dim=8,
    )  # fmt: skip
    StableDiffusionPipeline(
        vae=autoencoder(), text_encoder=clip(**text), unet=unet, tokenizer=clip_tokenizer(),
        scheduler=DDIMScheduler(**STABLE, prediction_type=prediction_type),
        safety_checker=None, feature_extractor=None, requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def save_tiny_sdxl(folder: Path, zeros: bool = True) -> Path:
    """A pipeline shaped as Stable Diffusion XL, at 64 pixels, the empty text as zeros or encoded."""
    from diffusers import EulerDiscreteScheduler, StableDiffusionXLPipeline, UNet2DConditionModel

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32 + 24, attention_head_dim=(2, 4), use_linear_projection=True, addition_embed_type="text_time",
        addition_time_embed_dim=8, projection_class_embeddings_input_dim=6 * 8 + 20, transformer_layers_per_block=(1, 2),
    )  # fmt: skip
    scheduler = EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1)
    StableDiffusionXLPipeline(
        vae=autoencoder(scaling_factor=0.13025, force_upcast=True), unet=unet, scheduler=scheduler,
        text_encoder=clip(), text_encoder_2=clip(24, projected=True, hidden_act="gelu", projection_dim=20),
        tokenizer=clip_tokenizer(), tokenizer_2=clip_tokenizer("!"), force_zeros_for_empty_prompt=zeros, add_watermarker=False,
    ).save_pretrained(folder)  # fmt: skip
    return folder
