"""MVDream's own U-Net class, `MultiViewUNetModel`, read into diffusers' U-Net: its settings and the names of its weights.

Public conversions of MVDream keep the names of latent diffusion's code and bring that code with them, to be executed. Here it
is not: what the settings describe is a `UNet2DConditionModel` with a camera embedding, or it is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from threefusion.guidance.prior.files import read_settings
from threefusion.guidance.prior.model_settings import ModelSettings, class_defaults
from threefusion.guidance.prior.reading import read_weights

CLASS = "MultiViewUNetModel"
NEEDED = ("image_size", "in_channels", "model_channels", "out_channels", "num_res_blocks", "attention_resolutions", "context_dim")
"""Fields without a default."""
DEFAULTS: dict[str, Any] = {
    "channel_mult": (1, 2, 4, 8), "num_heads": -1, "num_head_channels": -1, "transformer_depth": 1, "camera_dim": None,
}  # fmt: skip
FIXED: dict[str, tuple[Any, str]] = {
    "ip_dim": (0, "the network takes a reference image, as ImageDream does"),
    "conv_resample": (True, "expected true"),
    "dims": (2, "expected 2"),
    "num_classes": (None, "the network takes class labels"),
    "num_heads_upsample": (-1, "expected -1"),
    "use_scale_shift_norm": (False, "expected false"),
    "resblock_updown": (False, "expected false"),
    "n_embed": (None, "the network predicts codes"),
    "num_attention_blocks": (None, "expected attention in every block of a level"),
    "adm_in_channels": (None, "the network takes class labels"),
    "use_spatial_transformer": (True, "expected true"),
    "use_linear_in_transformer": (True, "expected true"),
    "with_ip": (False, "the network takes a reference image, as ImageDream does"),
}
"""Fields of which one value is supported, which is the default, with the reason."""
HARMLESS = {"dropout", "use_checkpoint", "legacy", "ip_weight", "ip_mode"}
"""Fields that do not change what the network computes from noised views, texts and cameras."""


def is_multi_view_unet(folder: Path) -> bool:
    """Whether the U-Net of the model in `folder` is of the class `MultiViewUNetModel`."""
    return read_settings(folder / "unet" / "config.json").get("_class_name") == CLASS


def translated(folder: Path) -> ModelSettings:
    """The settings of the U-Net as those of a `UNet2DConditionModel`.

    Raises:
        ModelError: a field is missing, unknown, or has a value that is not supported.
    """
    file = folder / "unet" / "config.json"
    given = ModelSettings(file, read_settings(file))
    for field in given:
        if field[:1] != "_" and field not in {*NEEDED, *DEFAULTS, *FIXED, *HARMLESS}:
            raise given.error(field, f"not a field of {CLASS}; remove it from the file if it has no effect")
    for field, (value, problem) in FIXED.items():
        if field in given:
            given.refuse(field, (value,), problem)
    own = ModelSettings(file, dict.fromkeys(NEEDED) | DEFAULTS | given)
    for field in ("in_channels", "out_channels", "model_channels", "num_res_blocks", "context_dim", "transformer_depth"):
        own.count(field)
    for field in ("channel_mult", "attention_resolutions"):
        if not isinstance(own.get(field), list | tuple) or not own[field]:
            raise own.error(field, "expected a list of numbers")
    return ModelSettings(file, class_defaults("UNet2DConditionModel") | _in_diffusers(own))


def _in_diffusers(own: ModelSettings) -> dict[str, Any]:
    """The fields of a `UNet2DConditionModel` of this architecture."""
    channels = [own["model_channels"] * factor for factor in own["channel_mult"]]
    attends = [2**level in own["attention_resolutions"] for level in range(len(channels))]
    if (width := own["num_head_channels"]) != -1:
        heads = [count // width for count in channels]
    elif own["num_heads"] != -1:
        heads = [own["num_heads"]] * len(channels)
    else:
        raise own.error("num_head_channels", "expected it or num_heads")
    return {
        "_class_name": "UNet2DConditionModel",
        "sample_size": own["image_size"],
        "in_channels": own["in_channels"],
        "out_channels": own["out_channels"],
        "block_out_channels": channels,
        "layers_per_block": own["num_res_blocks"],
        "down_block_types": ["CrossAttnDownBlock2D" if attending else "DownBlock2D" for attending in attends],
        "up_block_types": ["CrossAttnUpBlock2D" if attending else "UpBlock2D" for attending in reversed(attends)],
        # diffusers' name for the number of heads
        "attention_head_dim": heads,
        "cross_attention_dim": own["context_dim"],
        "transformer_layers_per_block": own["transformer_depth"],
        "use_linear_projection": True,
        "class_embed_type": None if own["camera_dim"] is None else "projection",
        "projection_class_embeddings_input_dim": own["camera_dim"],
    }


def read_multi_view_unet(folder: Path, settings: Mapping[str, Any], dtype: torch.dtype | None = None) -> nn.Module:
    """The U-Net in evaluation mode, by default in the precision of its file.

    Raises:
        ModelError: a weight is missing, surplus or of another shape, or a file cannot be read.
    """
    from diffusers import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(**{name: value for name, value in settings.items() if name[:1] != "_"})
    return read_weights(unet, folder / "unet", lambda weights: rename(weights, settings)).to(dtype=dtype)


def rename(weights: Mapping[str, Tensor], settings: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights by diffusers' names; those that have none keep their own."""
    from diffusers.loaders.single_file_utils import LDM_UNET_KEY, convert_ldm_unet_checkpoint

    prefixed = {LDM_UNET_KEY + name: value for name, value in weights.items()}
    renamed = convert_ldm_unet_checkpoint(prefixed, {"layers_per_block": settings["layers_per_block"]})
    for number, layer in (("0", "linear_1"), ("2", "linear_2")):
        for kind in ("weight", "bias"):
            if (value := weights.get(f"camera_embed.{number}.{kind}")) is not None:
                renamed[f"class_embedding.{layer}.{kind}"] = value
    taken = {id(value) for value in renamed.values()}
    return renamed | {name: value for name, value in weights.items() if id(value) not in taken}
