"""Random pipelines of a few megabytes whose networks are conditioned on more than a text."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from ldm_twin import SETTINGS, MultiViewUNet
from PIL import Image
from safetensors.torch import save_file
from tiny import save_tiny_if, save_tiny_sd


def save_tiny_if_ii(folder: Path, channels: int = 6) -> Path:
    """A pipeline shaped as stage II of DeepFloyd IF, from 4 to 16 pixels."""
    from diffusers import DDPMScheduler, IFPipeline, IFSuperResolutionPipeline, UNet2DConditionModel

    first = IFPipeline.from_pretrained(save_tiny_if(folder), local_files_only=True)
    torch.manual_seed(0)
    settings = {name: value for name, value in first.unet.config.items() if not name.startswith("_")}
    settings |= {"in_channels": 6, "out_channels": channels, "class_embed_type": "timestep"}
    IFSuperResolutionPipeline(
        tokenizer=first.tokenizer, text_encoder=first.text_encoder, scheduler=first.scheduler,
        unet=UNet2DConditionModel(**settings), image_noising_scheduler=DDPMScheduler(beta_schedule="squaredcos_cap_v2"),
        safety_checker=None, feature_extractor=None, watermarker=None, requires_safety_checker=False,
    ).save_pretrained(folder)  # fmt: skip
    return folder


def save_tiny_mvdream(folder: Path) -> Path:
    """A pipeline shaped as MVDream, in the layout of its public conversions, at 64 pixels: a U-Net with names of its own."""
    save_tiny_sd(folder)
    torch.manual_seed(1)
    shutil.rmtree(folder / "unet")
    (folder / "unet").mkdir()
    save_file(MultiViewUNet().state_dict(), folder / "unet" / "diffusion_pytorch_model.safetensors", {"format": "pt"})
    (folder / "unet" / "config.json").write_text(json.dumps(SETTINGS))
    index = json.loads((folder / "model_index.json").read_text())
    listed = {"_class_name": "MVDreamPipeline", "unet": ["mv_unet", "MultiViewUNetModel"]}
    (folder / "model_index.json").write_text(json.dumps(index | listed))
    return folder


def save_tiny_multi_view(folder: Path) -> Path:
    """The same shape as a `UNet2DConditionModel` with a camera embedding, 4 x 8 x 8 latents."""
    from diffusers import UNet2DConditionModel

    save_tiny_sd(folder)
    torch.manual_seed(1)
    UNet2DConditionModel(
        sample_size=8, in_channels=4, out_channels=4, block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32, attention_head_dim=8, class_embed_type="projection", projection_class_embeddings_input_dim=16,
    ).save_pretrained(folder / "unet")  # fmt: skip
    return folder


def save_tiny_zero123(folder: Path) -> Path:
    """A pipeline shaped as Zero-1-to-3, in the layout of its public conversions, at 64 pixels."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

    save_tiny_sd(folder)
    torch.manual_seed(2)
    for part in ("text_encoder", "tokenizer"):
        shutil.rmtree(folder / part)
    UNet2DConditionModel(
        sample_size=8, in_channels=8, out_channels=4, block_out_channels=(16, 32), layers_per_block=1, norm_num_groups=8,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=32, attention_head_dim=8,
    ).save_pretrained(folder / "unet")  # fmt: skip
    CLIPVisionModelWithProjection(
        CLIPVisionConfig(
            hidden_size=32, intermediate_size=37, num_hidden_layers=2, num_attention_heads=4, image_size=32, patch_size=8,
            projection_dim=32,
        )
    ).save_pretrained(folder / "image_encoder")  # fmt: skip
    CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=32).save_pretrained(folder / "feature_extractor")
    projection = folder / "clip_camera_projection"
    projection.mkdir()
    settings = {"_class_name": "CLIPCameraProjection", "additional_embeddings": 4, "embedding_dim": 32}
    (projection / "config.json").write_text(json.dumps(settings))
    weights = {"proj.weight": 0.2 * torch.randn(32, 36), "proj.bias": torch.randn(32)}
    save_file(weights, projection / "diffusion_pytorch_model.safetensors", {"format": "pt"})
    index = json.loads((folder / "model_index.json").read_text())
    changes = {"_class_name": "Zero123Pipeline", "clip_camera_projection": ["zero123", "CLIPCameraProjection"]}
    changes |= {"image_encoder": ["transformers", "CLIPVisionModelWithProjection"]}
    changes |= {"feature_extractor": ["transformers", "CLIPImageProcessor"]}
    index = {name: value for name, value in index.items() if name not in ("text_encoder", "tokenizer")}
    (folder / "model_index.json").write_text(json.dumps(index | changes))
    return folder


def save_picture(file: Path) -> Path:
    """A red disc that covers the middle of a transparent picture, higher than wide."""
    y, x = torch.meshgrid(torch.linspace(-1.5, 1.5, 60), torch.linspace(-1, 1, 40), indexing="ij")
    inside = (x.square() + y.square() < 0.5)[..., None]
    rgba = torch.cat([inside * torch.tensor([0.8, 0.1, 0.1]), inside], -1)
    Image.fromarray((rgba * 255).round().byte().numpy()).save(file)
    return file


def save_tiny_controlnet(folder: Path, pipeline: Path, seed: int = 3) -> Path:
    """A ControlNet beside the U-Net of a pipeline, as after some training: what starts at zero does not stay there."""
    from diffusers import ControlNetModel, UNet2DConditionModel

    torch.manual_seed(seed)
    network = ControlNetModel.from_unet(UNet2DConditionModel.from_pretrained(pipeline / "unet"))
    for parameter in network.parameters():
        if not parameter.any():
            torch.nn.init.normal_(parameter, std=0.1)
    network.save_pretrained(folder)
    return folder


def save_tiny_ip_adapter(folder: Path, pipeline: Path) -> dict[str, str]:
    """An IP-Adapter of 4 tokens for the U-Net of a pipeline, and its image encoder, by the names of their settings."""
    from diffusers import UNet2DConditionModel
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    torch.manual_seed(4)
    shape = {"hidden_size": 32, "intermediate_size": 37, "num_hidden_layers": 2, "num_attention_heads": 4}
    settings = CLIPVisionConfig(**shape, image_size=32, patch_size=8, projection_dim=24)
    CLIPVisionModelWithProjection(settings).save_pretrained(folder / "image_encoder")
    weights = {"image_proj.proj.weight": 0.2 * torch.randn(4 * 32, 24), "image_proj.proj.bias": torch.randn(4 * 32)}
    weights |= {"image_proj.norm.weight": torch.randn(32), "image_proj.norm.bias": torch.randn(32)}
    unet = UNet2DConditionModel.from_pretrained(pipeline / "unet")
    crossing = [name for name in unet.attn_processors if name.endswith("attn2.processor")]
    for number, name in enumerate(crossing):
        width = unet.get_submodule(name.removesuffix(".processor")).to_k.weight.shape[0]
        for kind in ("to_k_ip", "to_v_ip"):
            weights[f"ip_adapter.{2 * number + 1}.{kind}.weight"] = torch.randn(width, 32)
    save_file(weights, folder / "adapter.safetensors", {"format": "pt"})
    picture = save_picture(folder / "picture.png")
    names = {"image": picture, "adapter": folder / "adapter.safetensors", "image_encoder": folder / "image_encoder"}
    return {name: str(path) for name, path in names.items()}
