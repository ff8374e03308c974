"""Names of a U-Net's layers in the original code of Stable Diffusion, which files of other programs have."""

from __future__ import annotations

from torch import nn

_OUTSIDE = {
    "conv_in": "input_blocks.0.0", "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0", "add_embedding.linear_2": "label_emb.0.2",
    "conv_norm_out": "out.0", "conv_out": "out.2",
    "mid_block.resnets.0": "middle_block.0", "mid_block.attentions.0": "middle_block.1", "mid_block.resnets.1": "middle_block.2",
}  # fmt: skip
_IN_RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip


def original_names(unet: nn.Module) -> dict[str, str]:
    """The original name of every layer of a `UNet2DConditionModel` by its name in diffusers; none for another network."""
    if type(unet).__name__ != "UNet2DConditionModel" or not isinstance(unet.config.layers_per_block, int):
        return {}
    prefixes = _OUTSIDE | _of_blocks(unet, unet.config.layers_per_block + 1)
    names = {}
    for name, _ in unet.named_modules():
        prefix = next((prefix for prefix in prefixes if name == prefix or name.startswith(f"{prefix}.")), None)
        if prefix is not None:
            rest = name.removeprefix(prefix).removeprefix(".")
            rest = _IN_RESNET.get(rest, rest) if ".resnets." in name else rest
            names[name] = f"{prefixes[prefix]}.{rest}".rstrip(".")
    return names


def _of_blocks(unet: nn.Module, layers: int) -> dict[str, str]:
    """Original prefixes by those of the layers inside the blocks, `layers` per block."""
    names = {}
    for i in range(len(unet.down_blocks)):
        for j in range(layers - 1):
            names[f"down_blocks.{i}.resnets.{j}"] = f"input_blocks.{1 + i * layers + j}.0"
            names[f"down_blocks.{i}.attentions.{j}"] = f"input_blocks.{1 + i * layers + j}.1"
        names[f"down_blocks.{i}.downsamplers.0.conv"] = f"input_blocks.{(i + 1) * layers}.0.op"
    for i, block in enumerate(unet.up_blocks):
        for j in range(layers):
            names[f"up_blocks.{i}.resnets.{j}"] = f"output_blocks.{i * layers + j}.0"
            names[f"up_blocks.{i}.attentions.{j}"] = f"output_blocks.{i * layers + j}.1"
        after = 2 if getattr(block, "attentions", None) else 1
        names[f"up_blocks.{i}.upsamplers.0.conv"] = f"output_blocks.{(i + 1) * layers - 1}.{after}.conv"
    return names
