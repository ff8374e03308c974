"""Random pipelines of a few megabytes, shaped as the real ones and saved with diffusers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def save_tiny_if(folder: Path, channels: int = 6, prediction_type: str = "epsilon") -> Path:
    """A pipeline shaped as stage I of DeepFloyd IF, with 3 or 6 output channels."""
    from diffusers import DDPMScheduler, IFPipeline, UNet2DConditionModel

    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=16, in_channels=3, out_channels=channels, layers_per_block=1, block_out_channels=(16, 32), norm_num_groups=8,
        down_block_types=("ResnetDownsampleBlock2D", "SimpleCrossAttnDownBlock2D"), cross_attention_dim=32, encoder_hid_dim=32,
        mid_block_type="UNetMidBlock2DSimpleCrossAttn", up_block_types=("SimpleCrossAttnUpBlock2D", "ResnetUpsampleBlock2D"),
        attention_head_dim=8, addition_embed_type="text", addition_embed_type_num_heads=2, cross_attention_norm="group_norm",
        resnet_time_scale_shift="scale_shift", act_fn="gelu",
    )  # fmt: skip
    encoder = t5()
    scheduler = DDPMScheduler(
        beta_schedule="squaredcos_cap_v2", variance_type="learned_range" if channels == 6 else "fixed_small",
        prediction_type=prediction_type, thresholding=True, dynamic_thresholding_ratio=0.95, sample_max_value=1.5,
    )  # fmt: skip
    IFPipeline(
        tokenizer=t5_tokenizer(), text_encoder=encoder, unet=unet, scheduler=scheduler,
        safety_checker=None, feature_extractor=None, watermarker=None, requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def t5(width: int = 32):
    """A T5 text encoder."""
    from transformers import T5Config, T5EncoderModel

    return T5EncoderModel(
        T5Config(vocab_size=64, d_model=width, d_kv=8, d_ff=37, num_layers=2, num_heads=4, feed_forward_proj="gated-gelu")
    )


def t5_tokenizer():
    """T5's tokenizer, which knows single letters."""
    from transformers import T5Tokenizer

    letters = [(letter, -2.0) for letter in "abcdefghijklmnopqrstuvwxyz,"]
    return T5Tokenizer(vocab=[("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0), ("▁", -1.0), *letters], extra_ids=0)


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


def save_tiny_sd3(folder: Path, with_t5: bool = True) -> Path:
    """A pipeline shaped as Stable Diffusion 3, at 64 pixels: 16 x 8 x 8 latents, with or without T5."""
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline

    torch.manual_seed(0)
    transformer = SD3Transformer2DModel(
        sample_size=8, patch_size=2, in_channels=16, out_channels=16, num_layers=2, attention_head_dim=8, num_attention_heads=4,
        joint_attention_dim=64, caption_projection_dim=32, pooled_projection_dim=20 + 12, pos_embed_max_size=12,
    )  # fmt: skip
    vae = autoencoder(16, scaling_factor=1.5305, shift_factor=0.0609, use_quant_conv=False, use_post_quant_conv=False)
    StableDiffusion3Pipeline(
        transformer=transformer, vae=vae, scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        text_encoder=clip(projected=True, projection_dim=20), tokenizer=clip_tokenizer(),
        text_encoder_2=clip(24, projected=True, hidden_act="gelu", projection_dim=12), tokenizer_2=clip_tokenizer("!"),
        text_encoder_3=t5(64) if with_t5 else None, tokenizer_3=t5_tokenizer() if with_t5 else None,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def save_tiny_flux(folder: Path, guided: bool = True) -> Path:
    """A pipeline shaped as FLUX.1, its network `guided` as that of dev, or without guidance as that of schnell."""
    from diffusers import FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel

    torch.manual_seed(0)
    transformer = FluxTransformer2DModel(
        in_channels=64, num_layers=1, num_single_layers=1, attention_head_dim=16, num_attention_heads=2, joint_attention_dim=64,
        pooled_projection_dim=32, guidance_embeds=guided, axes_dims_rope=(4, 4, 8),
    )  # fmt: skip
    vae = autoencoder(16, scaling_factor=0.3611, shift_factor=0.1159, use_quant_conv=False, use_post_quant_conv=False)
    shifts = {"shift": 3.0, "use_dynamic_shifting": True} if guided else {"shift": 1.0}
    FluxPipeline(
        transformer=transformer, vae=vae, scheduler=FlowMatchEulerDiscreteScheduler(**shifts),
        text_encoder=clip(), tokenizer=clip_tokenizer(), text_encoder_2=t5(64), tokenizer_2=t5_tokenizer(),
    ).save_pretrained(folder)  # fmt: skip
    return folder
