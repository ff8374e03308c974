"""The networks of real models by their published settings, with the inputs that a training gives them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.floors.architectures import ARCHITECTURES
from threefusion.guidance.prior.pretrained import network_class

CONDITIONS = 2
"""The empty prompt and the text, in one call."""
Call = Callable[[], Any]


@dataclass(frozen=True)
class Shape:
    """A network, and the inputs of one item."""

    name: str
    cls: str
    """Of diffusers."""
    settings: dict[str, Any]
    pixels: int
    """Height and width of the image."""
    inputs: dict[str, tuple[int, ...]]
    """Sizes of one item's inputs by keyword; none for an autoencoder's encoder, whose input is the image."""
    shared: dict[str, tuple[int, ...]] | None = None
    """Inputs that all items share."""

    @property
    def is_encoder(self) -> bool:
        """Whether it is the encoder of an autoencoder, which is differentiated."""
        return not self.inputs

    def network(self, device: torch.device, dtype: torch.dtype) -> nn.Module:
        """The frozen network at random weights."""
        with torch.device(device):
            network = network_class(self.cls).from_config(self.settings)
        if self.is_encoder:
            network = nn.Sequential(network.encoder, getattr(network, "quant_conv", None) or nn.Identity())
        network = network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
        # not by diffusers' own method, which warns of parts that these networks do not have
        return network._apply(lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor)

    def call(self, network: nn.Module, views: int, device: torch.device, dtype: torch.dtype) -> Call:
        """One call of guidance on so many views: the network under both conditions, or the encoder forward and backward."""
        if self.is_encoder:
            image = torch.empty(views, 3, self.pixels, self.pixels, device=device, dtype=dtype, requires_grad=True)
            return lambda: torch.autograd.grad(network(image).sum(), image)
        given = {name: _input(name, (CONDITIONS * views, *size), device, dtype) for name, size in self.inputs.items()}
        given |= {name: _input(name, size, device, dtype) for name, size in (self.shared or {}).items()}
        more = {name: given.pop(name) for name in ("text_embeds", "time_ids") if name in given}
        options = {"added_cond_kwargs": more} if more else {}
        return torch.no_grad()(lambda: network(**given, **options))


def _input(name: str, size: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    value = torch.zeros(size, device=device, dtype=torch.float32 if name == "timestep" else dtype)
    return value.contiguous(memory_format=torch.channels_last) if value.ndim == 4 else value


def unet(name: str, settings: dict[str, Any], pixels: int, tokens: tuple[int, int], **more: tuple[int, ...]) -> Shape:
    """A U-Net with cross-attention."""
    size, channels = settings["sample_size"], settings.get("in_channels", 4)
    inputs = {"sample": (channels, size, size), "timestep": (), "encoder_hidden_states": tokens, **more}
    return Shape(name, "UNet2DConditionModel", settings, pixels, inputs)


def autoencoder(name: str, pixels: int, channels: int) -> Shape:
    """The encoder of Stable Diffusion's autoencoder."""
    vae = ARCHITECTURES["stable-diffusion-2-1-base"].vae
    assert vae is not None
    return Shape(name, "AutoencoderKL", {**vae, "latent_channels": channels, "use_quant_conv": channels == 4}, pixels, {})


SDXL = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
SD3 = {
    "sample_size": 128,
    "num_layers": 24,
    "num_attention_heads": 24,
    "caption_projection_dim": 1536,
    "pos_embed_max_size": 192,
}


def flux(pixels: int) -> Shape:
    """FLUX.1 dev; a token is 16 x 16 pixels."""
    tokens = (pixels // 16) ** 2
    inputs = {
        "hidden_states": (tokens, 64), "timestep": (), "encoder_hidden_states": (512, 4096), "pooled_projections": (768,),
        "guidance": (),
    }  # fmt: skip
    shared = {"img_ids": (tokens, 3), "txt_ids": (512, 3)}
    return Shape("flux-dev", "FluxTransformer2DModel", {"guidance_embeds": True}, pixels, inputs, shared)


def sd3(pixels: int) -> Shape:
    """Stable Diffusion 3 medium: 77 tokens of CLIP and 256 of T5."""
    size = pixels // 8
    inputs = {
        "hidden_states": (16, size, size), "timestep": (), "encoder_hidden_states": (333, 4096), "pooled_projections": (2048,),
    }  # fmt: skip
    return Shape("stable-diffusion-3-medium", "SD3Transformer2DModel", SD3, pixels, inputs)


SHAPES = (
    unet("stable-diffusion-2-1-base", ARCHITECTURES["stable-diffusion-2-1-base"].unet, 512, (77, 1024)),
    unet("stable-diffusion-xl", SDXL, 1024, (77, 2048), text_embeds=(1280,), time_ids=(6,)),
    sd3(1024),
    flux(1024),
    flux(512),
    unet("deepfloyd-if-xl", ARCHITECTURES["deepfloyd-if-xl"].unet, 64, (77, 4096)),
    autoencoder("encoder of Stable Diffusion 1, 2, XL", 512, 4),
    autoencoder("encoder of Stable Diffusion 1, 2, XL", 1024, 4),
    autoencoder("encoder of Stable Diffusion 3, FLUX.1", 1024, 16),
    Shape("encoder of taesd", "AutoencoderTiny", {}, 512, {}),
)
"""The rows of the table."""
