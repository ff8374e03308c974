#!/usr/bin/env bash
# A LoRA of rank 4 and alpha 6 on a U-Net of diffusers 0.42.1 with peft 0.21.2, saved by unet.save_lora_adapter(folder) and read back.
# Expected: the U-Net that was saved, since the file's header holds the alpha; or an exception.
# Seen: load_lora_adapter(folder) looks for a .bin file and fails; with the file's name it reads nothing and logs a warning, as its prefix is
# "transformer"; with the file's weights and prefix=None the alpha is lost and the LoRA has 4/6 of its strength, without a message. Only
# the folder, the name and prefix=None together bring it back.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.13.0 numpy==2.4.6 diffusers==0.42.1 transformers==5.24.0 peft==0.21.2 accelerate==1.15.0
"$work/venv/bin/python" - "$work/lora" <<'PYTHON' 2>/dev/null
import sys

import torch
from diffusers import UNet2DConditionModel
from peft import LoraConfig
from safetensors.torch import load_file

LAYER = "mid_block.attentions.0.transformer_blocks.0.attn1.to_q"


def unet():
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8, block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8, cross_attention_dim=32,
        attention_head_dim=8, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )


def change(network):
    """What the LoRA adds to the output of one layer for inputs of ones."""
    with torch.no_grad():
        return network.eval().get_submodule(LAYER)(torch.ones(1, 32)) - unet().get_submodule(LAYER)(torch.ones(1, 32))


trained = unet()
trained.add_adapter(LoraConfig(r=4, lora_alpha=6, target_modules=["to_q"]))
for name, weight in trained.named_parameters():
    if "lora_" in name:
        torch.nn.init.normal_(weight)
trained.save_lora_adapter(sys.argv[1])

NAME = "pytorch_lora_weights.safetensors"
WAYS = {
    "folder": (sys.argv[1], {}),
    "folder, weight_name": (sys.argv[1], {"weight_name": NAME}),
    "weights, prefix=None": (load_file(f"{sys.argv[1]}/{NAME}"), {"prefix": None}),
    "folder, weight_name, prefix=None": (sys.argv[1], {"weight_name": NAME, "prefix": None}),
}
strengths = {}
for how, (given, options) in WAYS.items():
    again = unet()
    try:
        again.load_lora_adapter(given, **options)
        strengths[how] = round((change(again).norm() / change(trained).norm()).item(), 3)
    except OSError:
        strengths[how] = None
    print(f"load_lora_adapter({how}): {strengths[how]} of the strength")
assert list(strengths.values()) == [None, 0.0, 0.667, 1.0], f"behaviour has changed: {strengths}"
PYTHON
