"""IP-Adapter: cross-attention to a reference picture beside that to the text (arXiv 2308.06721)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from threefusion.errors import first_line
from threefusion.guidance.prior.files import ModelError
from threefusion.guidance.prior.reading import read_network, silence
from threefusion.guidance.prior.reference import on_white, read_picture
from threefusion.guidance.prior.settings import ReferencePicture

PROJECTION = {"proj.weight", "proj.bias", "norm.weight", "norm.bias"}
"""Weights that turn the embedding of a picture into tokens, in the plain IP-Adapter."""


class AdaptedUNet(nn.Module):
    """A U-Net with IP-Adapters, whose pictures are an ordinary argument."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet

    def forward(
        self,
        z: Float[Tensor, "B C h w"],
        timesteps: Int[Tensor, "B"],
        tokens: Float[Tensor, "B L D"],
        reference: Float[Tensor, "B R P"],
        **options: Any,
    ) -> Any:
        """The U-Net's output, given the embedding of each adapter's picture."""
        added = {"image_embeds": list(reference.split(1, dim=1))}
        return self.unet(z, timesteps, tokens, added_cond_kwargs=added, **options)


def read_adapter(file: Path, unet: nn.Module) -> dict[str, dict[str, Tensor]]:
    """The weights of an IP-Adapter for this U-Net, of its projection and of its attentions.

    Raises:
        ModelError: the file cannot be read, is none, is of another kind, or belongs to another U-Net.
    """
    try:
        weights = load_file(file)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{file}: cannot be read as safetensors ({first_line(error)})") from error
    parts: dict[str, dict[str, Tensor]] = {"image_proj": {}, "ip_adapter": {}}
    for name, value in weights.items():
        part, _, rest = name.partition(".")
        if part not in parts:
            raise ModelError(f"{file}: {name} is no weight of an IP-Adapter; expected image_proj.… and ip_adapter.…")
        parts[part][rest] = value
    if set(parts["image_proj"]) != PROJECTION:
        raise ModelError(f"{file}: expected the plain IP-Adapter, with one linear layer and a norm in image_proj")
    expected = _attention_shapes(unet, parts["image_proj"]["norm.weight"].shape[0])
    for name in sorted(expected.keys() ^ parts["ip_adapter"].keys()):
        raise ModelError(f"{file}: ip_adapter.{name} is {'missing' if name in expected else 'of another U-Net'}")
    for name, shape in expected.items():
        if parts["ip_adapter"][name].shape != shape:
            stored = tuple(parts["ip_adapter"][name].shape)
            raise ModelError(f"{file}: ip_adapter.{name} has the shape {stored}, but the U-Net wants {tuple(shape)}")
    return parts


def _attention_shapes(unet: nn.Module, width: int) -> dict[str, torch.Size]:
    """The weights that the U-Net's cross-attentions get: the odd numbers, in the order of the U-Net's attentions."""
    crossing = [name for name in unet.attn_processors if name.endswith("attn2.processor")]
    shapes = {}
    for number, name in enumerate(crossing):
        inner = unet.get_submodule(name.removesuffix(".processor")).to_k.weight.shape[0]
        shapes |= {f"{2 * number + 1}.{kind}.weight": torch.Size((inner, width)) for kind in ("to_k_ip", "to_v_ip")}
    return shapes


def add_adapters(unet: nn.Module, references: Sequence[ReferencePicture]) -> None:
    """Give the U-Net's cross-attentions the adapters of the pictures, at their scales."""
    unet._load_ip_adapter_weights([read_adapter(Path(each.adapter), unet) for each in references], low_cpu_mem_usage=False)
    for processor in unet.attn_processors.values():
        if hasattr(processor, "to_k_ip"):
            processor.scale = [each.scale for each in references]


@torch.inference_mode()
def embedding(reference: ReferencePicture) -> Float[Tensor, "1 1 P"]:
    """The picture's embedding by the adapter's image encoder, which is read and freed.

    Raises:
        ModelError: the picture or the encoder cannot be read.
    """
    from PIL import Image
    from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

    silence()
    network = read_network(CLIPVisionModelWithProjection, Path(reference.image_encoder), torch.float32)
    size = network.config.image_size
    picture = on_white(read_picture(Path(reference.image)), size)[0]
    image = Image.fromarray((picture.clamp(0, 1) * 255).round().byte().numpy())
    pixels = CLIPImageProcessor(size={"shortest_edge": size}, crop_size=size)(images=image, return_tensors="pt").pixel_values
    return network(pixels).image_embeds[:, None].clone()
