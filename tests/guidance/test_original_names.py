"""Layers of whole U-Nets under the names of Stable Diffusion's original code, without their weights."""

import pytest
import torch

from threefusion.guidance.prior.original_names import original_names

SD = {
    "conv_in": "input_blocks.0.0", "conv_out": "out.2", "time_embedding.linear_2": "time_embed.2",
    "down_blocks.0.downsamplers.0.conv": "input_blocks.3.0.op",
    "down_blocks.1.resnets.0.conv_shortcut": "input_blocks.4.0.skip_connection",
    "mid_block.resnets.1.time_emb_proj": "middle_block.2.emb_layers.1",
    "up_blocks.0.upsamplers.0.conv": "output_blocks.2.1.conv", "up_blocks.1.upsamplers.0.conv": "output_blocks.5.2.conv",
    "up_blocks.3.attentions.2.proj_out": "output_blocks.11.1.proj_out",
    "up_blocks.2.resnets.1.conv2": "output_blocks.7.0.out_layers.3",
}  # fmt: skip
XL = {
    "add_embedding.linear_2": "label_emb.0.2", "down_blocks.2.attentions.1.transformer_blocks.9.attn2.to_k":
    "input_blocks.8.1.transformer_blocks.9.attn2.to_k", "up_blocks.0.upsamplers.0.conv": "output_blocks.2.2.conv",
    "mid_block.attentions.0.proj_in": "middle_block.1.proj_in", "down_blocks.1.downsamplers.0.conv": "input_blocks.6.0.op",
}  # fmt: skip
XL_SETTINGS = {
    "sample_size": 128, "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"), "block_out_channels": (320, 640, 1280),
    "transformer_layers_per_block": (1, 2, 10), "attention_head_dim": (5, 10, 20), "cross_attention_dim": 2048,
    "addition_embed_type": "text_time", "addition_time_embed_dim": 256, "projection_class_embeddings_input_dim": 2816,
    "use_linear_projection": True,
}  # fmt: skip


@pytest.mark.parametrize(("settings", "known"), [({"cross_attention_dim": 768}, SD), (XL_SETTINGS, XL)])
def test_every_layer_has_its_original_name(settings, known):
    from diffusers import UNet2DConditionModel
    from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint

    with torch.device("meta"):
        unet = UNet2DConditionModel(**settings)
    names = original_names(unet)
    assert {name: names[name] for name in known} == known
    old = {}
    for key, value in unet.state_dict().items():
        layer, _, end = key.rpartition(".")
        old[f"model.diffusion_model.{names[layer]}.{end}"] = value
    assert len(old) == len(unet.state_dict())
    back = convert_ldm_unet_checkpoint(old, dict(unet.config))
    assert {key: value.shape for key, value in back.items()} == {key: value.shape for key, value in unet.state_dict().items()}
