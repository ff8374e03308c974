"""A multi-view U-Net in the layers and names of latent diffusion's code, written out plainly: the oracle of what is read."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class Residual(nn.Module):
    def __init__(self, before: int, after: int, time: int) -> None:
        super().__init__()
        self.in_layers = nn.Sequential(nn.GroupNorm(32, before), nn.SiLU(), nn.Conv2d(before, after, 3, padding=1))
        self.emb_layers = nn.Sequential(nn.SiLU(), nn.Linear(time, after))
        self.out_layers = nn.Sequential(nn.GroupNorm(32, after), nn.SiLU(), nn.Dropout(0), nn.Conv2d(after, after, 3, padding=1))
        self.skip_connection = nn.Identity() if before == after else nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        hidden = self.in_layers(x) + self.emb_layers(time)[..., None, None]
        return self.skip_connection(x) + self.out_layers(hidden)


class Attention(nn.Module):
    def __init__(self, width: int, context: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k, self.to_v = (nn.Linear(context, width, bias=False) for _ in range(2))
        self.to_out = nn.Sequential(nn.Linear(width, width), nn.Dropout(0))

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        q, k, v = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.to_q(x), self.to_k(context), self.to_v(context))
        )
        scores = (q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])).softmax(-1)
        return self.to_out((scores @ v).transpose(1, 2).flatten(2))


class Gated(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, 8 * width)

    def forward(self, x: Tensor) -> Tensor:
        value, gate = self.proj(x).chunk(2, -1)
        return value * nn.functional.gelu(gate)


class Block(nn.Module):
    def __init__(self, width: int, context: int, heads: int) -> None:
        super().__init__()
        self.attn1, self.attn2 = Attention(width, width, heads), Attention(width, context, heads)
        self.ff = nn.ModuleDict({"net": nn.Sequential(Gated(width), nn.Dropout(0), nn.Linear(4 * width, width))})
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))

    def forward(self, x: Tensor, context: Tensor, views: int) -> Tensor:
        groups = self.norm1(x).unflatten(0, (-1, views)).flatten(1, 2)
        x = x + self.attn1(groups, groups).unflatten(1, (views, -1)).flatten(0, 1)
        x = x + self.attn2(self.norm2(x), context)
        return x + self.ff["net"](self.norm3(x))


class Transformer(nn.Module):
    def __init__(self, width: int, context: int, heads: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(32, width, eps=1e-6)
        self.proj_in, self.proj_out = nn.Linear(width, width), nn.Linear(width, width)
        self.transformer_blocks = nn.ModuleList([Block(width, context, heads)])

    def forward(self, x: Tensor, context: Tensor, views: int) -> Tensor:
        tokens = self.proj_in(self.norm(x).flatten(2).transpose(1, 2))
        for block in self.transformer_blocks:
            tokens = block(tokens, context, views)
        return x + self.proj_out(tokens).transpose(1, 2).unflatten(2, x.shape[2:])


class Down(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.op = nn.Conv2d(width, width, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class Up(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(nn.functional.interpolate(x, scale_factor=2))


SETTINGS = {
    "_class_name": "MultiViewUNetModel", "image_size": 8, "in_channels": 4, "out_channels": 4, "model_channels": 32,
    "num_res_blocks": 1, "attention_resolutions": [2], "channel_mult": [1, 2], "num_head_channels": 16,
    "transformer_depth": 1, "context_dim": 32, "camera_dim": 16, "use_checkpoint": True,
}  # fmt: skip
"""Of `MultiViewUNet`, as public conversions of MVDream write them."""


class MultiViewUNet(nn.Module):
    """Two levels, attention in the second."""

    def __init__(self) -> None:
        super().__init__()
        time = 128
        self.time_embed = nn.Sequential(nn.Linear(32, time), nn.SiLU(), nn.Linear(time, time))
        self.camera_embed = nn.Sequential(nn.Linear(16, time), nn.SiLU(), nn.Linear(time, time))
        layers = [
            [nn.Conv2d(4, 32, 3, padding=1)],
            [Residual(32, 32, time)],
            [Down(32)],
            [Residual(32, 64, time), Transformer(64, 32, 4)],
        ]
        self.input_blocks = nn.ModuleList(map(nn.ModuleList, layers))
        self.middle_block = nn.ModuleList([Residual(64, 64, time), Transformer(64, 32, 4), Residual(64, 64, time)])
        layers = [
            [Residual(64 + 64, 64, time), Transformer(64, 32, 4)],
            [Residual(64 + 32, 64, time), Transformer(64, 32, 4), Up(64)],
            [Residual(64 + 32, 32, time)],
            [Residual(32 + 32, 32, time)],
        ]
        self.output_blocks = nn.ModuleList(map(nn.ModuleList, layers))
        self.out = nn.Sequential(nn.GroupNorm(32, 32), nn.SiLU(), nn.Conv2d(32, 4, 3, padding=1))

    def forward(self, z: Tensor, timesteps: Tensor, context: Tensor, camera: Tensor, views: int) -> Tensor:
        angles = timesteps[:, None] * torch.exp(-math.log(10000) * torch.arange(16) / 16)
        time = self.time_embed(torch.cat([angles.cos(), angles.sin()], -1)) + self.camera_embed(camera)

        def run(layers: nn.ModuleList, x: Tensor) -> Tensor:
            for layer in layers:
                if isinstance(layer, Residual):
                    x = layer(x, time)
                else:
                    x = layer(x, context, views) if isinstance(layer, Transformer) else layer(x)
            return x

        skipped = []
        for layers in self.input_blocks:
            z = run(layers, z)
            skipped.append(z)
        z = run(self.middle_block, z)
        for layers in self.output_blocks:
            z = run(layers, torch.cat([z, skipped.pop()], 1))
        return self.out(z)
