"""What the networks of a model that is not on this machine would take, counted on torch's meta device: shapes without numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.overrides import TorchFunctionMode

from threefusion.guidance.prior.architectures import Architecture
from threefusion.plan.meter import metered

_META = torch.device("meta")
_TOKENS = 77


@dataclass(frozen=True)
class NetworkMemory:
    """Bytes that a prior's networks take for one batch of views."""

    weights: int
    kept: int = 0
    """Kept by the autoencoder's encoder for its backward pass."""
    encode: int = 0
    """The most that its forward pass takes, what it keeps included."""
    predict: int = 0
    """The most that the U-Net takes, which keeps nothing."""
    backward: int = 0
    """The most that the encoder's backward pass takes, what was kept included."""

    @property
    def guidance(self) -> int:
        """The most that encoding and predicting take, one after the other."""
        return max(self.encode, self.kept + self.predict)


NO_NETWORKS = NetworkMemory(0)


def network_memory(architecture: Architecture, dtype: torch.dtype, views: int, inputs: int, latent_size: int) -> NetworkMemory:
    """The memory of `views` images encoded and `inputs` of them (several conditions each) passed through the U-Net.

    Attention counts as a fused kernel's, which never holds the matrix of all pairs; workspaces of convolutions do not count.
    """
    from threefusion.guidance.prior.pretrained import network_class

    unet = _frozen(network_class("unet"), architecture.unet, dtype)
    weights, kept, encode, backward = _weights(unet), 0, 0, 0
    if architecture.vae is not None:
        vae = _frozen(network_class("vae"), architecture.vae, dtype)
        weights += _weights(vae)
        size = latent_size * 2 ** (len(architecture.vae["block_out_channels"]) - 1)
        kept, encode, backward = _encoding(vae, torch.empty(views, 3, size, size, dtype=dtype, device=_META))
    channels = architecture.unet.get("in_channels", 4)
    latents = torch.empty(inputs, channels, latent_size, latent_size, dtype=dtype, device=_META)
    tokens = torch.empty(inputs, _TOKENS, architecture.token_width, dtype=dtype, device=_META)
    with torch.no_grad(), FusedAttention(), metered(_META) as meter:
        unet(latents, torch.empty(inputs, dtype=torch.long, device=_META), tokens, return_dict=False)
        predict = max(meter.lap())
    return NetworkMemory(weights, kept, encode, predict, backward)


def _frozen(network: type, settings: dict[str, Any], dtype: torch.dtype) -> nn.Module:
    with _META:
        # not the method of diffusers, which warns of parameters to be kept in float32 although there are none
        return nn.Module.to(network(**settings), dtype).eval().requires_grad_(False)


def _weights(network: nn.Module) -> int:
    return sum(parameter.nbytes for parameter in network.parameters())


def _encoding(vae: nn.Module, image: Tensor) -> tuple[int, int, int]:
    """Bytes kept after the encoder's forward pass, its peak, and the backward pass's peak."""
    with FusedAttention(), metered(_META) as meter:
        latents = vae.encode(image.requires_grad_()).latent_dist.mean
        kept, encode = meter.now, max(meter.lap())
        latents.backward(torch.empty_like(latents))
        return kept, encode, max(meter.lap())


class FusedAttention(TorchFunctionMode):
    """Attention as a fused kernel does it, as far as memory goes: the meta device has but the plain one."""

    def __torch_function__(self, function: Any, types: Any, arguments: tuple = (), keywords: dict | None = None) -> Any:
        """The function itself, or the stand-in for attention."""
        if function is nn.functional.scaled_dot_product_attention:
            return _Attention.apply(*arguments[:3])
        return function(*arguments, **(keywords or {}))


class _Attention(Function):
    @staticmethod
    def forward(ctx, query, key, value):
        out = torch.empty_like(query)
        ctx.save_for_backward(query, key, value, out)
        return out

    @staticmethod
    def backward(ctx, gradient):
        query, key, value, _ = ctx.saved_tensors
        return torch.empty_like(query), torch.empty_like(key), torch.empty_like(value)
