"""A pipeline of diffusers in one file, in the layout of Stable Diffusion's original code: what `from_single_file` reads."""

from __future__ import annotations

import re
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from threefusion.guidance.prior.original_names import original_names

VAE_NAMES = (
    (r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}"),
    (r"mid_block\.attentions\.0", lambda m: "mid.attn_1"),
    (r"down_blocks\.(\d)\.resnets", lambda m: f"down.{m[1]}.block"),
    (r"down_blocks\.(\d)\.downsamplers\.0", lambda m: f"down.{m[1]}.downsample"),
    (r"group_norm", lambda m: "norm"),
    (r"to_([qkv])\b", lambda m: m[1]),
    (r"to_out\.0", lambda m: "proj_out"),
    (r"conv_norm_out", lambda m: "norm_out"),
    (r"conv_shortcut", lambda m: "nin_shortcut"),
)
OPEN_CLIP = (
    ("encoder.layers.", "resblocks."), ("layer_norm1", "ln_1"), ("layer_norm2", "ln_2"), ("mlp.fc1", "mlp.c_fc"),
    ("mlp.fc2", "mlp.c_proj"), ("self_attn", "attn"),
)  # fmt: skip


def unet_weights(unet) -> dict[str, torch.Tensor]:
    """The U-Net under its original names."""
    names = original_names(unet)
    weights = {}
    for key, value in unet.state_dict().items():
        layer, _, end = key.rpartition(".")
        weights[f"model.diffusion_model.{names[layer]}.{end}"] = value
    return weights


def vae_weights(vae) -> dict[str, torch.Tensor]:
    """The autoencoder under its original names; its attention is made of convolutions there."""
    last, weights = len(vae.config.up_block_types) - 1, {}
    for key, value in vae.state_dict().items():
        name = re.sub(r"up_blocks\.(\d)\.resnets", lambda m: f"up.{last - int(m[1])}.block", key)
        name = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{last - int(m[1])}.upsample", name)
        for pattern, replacement in VAE_NAMES:
            name = re.sub(pattern, replacement, name)
        is_matrix = "attn_1" in name and name.endswith("weight") and value.dim() == 2
        weights[f"first_stage_model.{name}"] = value[..., None, None] if is_matrix else value
    return weights


def clip_weights(folder: Path, prefix: str) -> dict[str, torch.Tensor]:
    """The first CLIP under the names of transformers before 5.6."""
    weights = load_file(folder / "text_encoder" / "model.safetensors")
    return {f"{prefix}text_model.{key.removeprefix('text_model.')}": value for key, value in weights.items()}


def open_clip_weights(folder: Path, prefix: str, part: str = "text_encoder") -> dict[str, torch.Tensor]:
    """CLIP under the names of OpenCLIP, which joins the three projections of attention."""
    weights = {k.removeprefix("text_model."): v for k, v in load_file(folder / part / "model.safetensors").items()}
    found = {
        "token_embedding.weight": weights["embeddings.token_embedding.weight"],
        "positional_embedding": weights["embeddings.position_embedding.weight"],
        "ln_final.weight": weights["final_layer_norm.weight"],
        "ln_final.bias": weights["final_layer_norm.bias"],
        "text_projection": weights.get("text_projection.weight", torch.eye(len(weights["final_layer_norm.bias"]))).T,
    }
    for key, value in weights.items():
        if key.startswith("encoder.") and not re.search(r"\.[kv]_proj", key):
            name = key
            for new, old in OPEN_CLIP:
                name = name.replace(new, old)
            if ".q_proj." in key:
                name = re.sub(r"\.q_proj\.", ".in_proj_", name)
                value = torch.cat([weights[key.replace("q_proj", f"{each}_proj")] for each in "qkv"])
            found[f"transformer.{name}"] = value
    return {f"{prefix}{key}": value for key, value in found.items()}


def original_weights(folder: Path, text: str = "clip") -> dict[str, torch.Tensor]:
    """All weights of a pipeline of Stable Diffusion 1 (`clip`), 2 (`open-clip`) or XL (`both`)."""
    from diffusers import AutoencoderKL, UNet2DConditionModel

    encoders = {
        "clip": lambda: clip_weights(folder, "cond_stage_model.transformer."),
        "both": lambda: (
            clip_weights(folder, "conditioner.embedders.0.transformer.")
            | open_clip_weights(folder, "conditioner.embedders.1.model.", "text_encoder_2")
        ),
        "open-clip": lambda: open_clip_weights(folder, "cond_stage_model.model."),
    }
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    vae = AutoencoderKL.from_pretrained(folder / "vae")
    return unet_weights(unet) | vae_weights(vae) | encoders[text]()


def save_original(weights: dict[str, torch.Tensor], file: Path) -> Path:
    """Write one file."""
    save_file({key: value.contiguous() for key, value in weights.items()}, file)
    return file
