"""The U-Net of the bundled models: diffusers' UNet2DConditionModel as far as they use it, with the same names of weights.

Importing that class takes longer than a hundred steps of the bundled network: it loads most of transformers, peft and scipy.
"""

from __future__ import annotations

from math import log
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Num
from torch import Tensor, nn
from torch.nn.functional import gelu, interpolate, scaled_dot_product_attention, silu

FIXED = {
    "act_fn": "silu", "addition_embed_type": "text", "addition_time_embed_dim": None, "attention_type": "default",
    "center_input_sample": False, "class_embed_type": None, "class_embeddings_concat": False, "conv_in_kernel": 3,
    "conv_out_kernel": 3, "cross_attention_norm": None, "downsample_padding": 1, "dropout": 0.0,
    "dual_cross_attention": False, "flip_sin_to_cos": True, "freq_shift": 0, "mid_block_only_cross_attention": None,
    "mid_block_scale_factor": 1, "mid_block_type": "UNetMidBlock2DCrossAttn", "num_attention_heads": None,
    "num_class_embeds": None, "only_cross_attention": False, "projection_class_embeddings_input_dim": None,
    "resnet_out_scale_factor": 1.0, "resnet_skip_time_act": False, "resnet_time_scale_shift": "scale_shift",
    "reverse_transformer_layers_per_block": None, "time_cond_proj_dim": None, "time_embedding_act_fn": None,
    "time_embedding_dim": None, "time_embedding_type": "positional", "timestep_post_act": None,
    "transformer_layers_per_block": 1, "upcast_attention": False, "use_linear_projection": False,
}  # fmt: skip
"""Settings that the network has only one value for."""
BLOCKS = {"DownBlock2D": False, "CrossAttnDownBlock2D": True, "UpBlock2D": False, "CrossAttnUpBlock2D": True}
"""Types of blocks, and whether they read the text."""
INNER_EPS = 1e-6
"""Of the norm before an attention block; other norms have the model's own."""


def fits(settings: dict[str, Any]) -> bool:
    """Whether `SmallUNet` is the network that these settings of diffusers describe."""
    if any(settings[field] != value for field, value in FIXED.items()):
        return False
    if not all(isinstance(settings[field], int) for field in ("layers_per_block", "attention_head_dim", "cross_attention_dim")):
        return False
    projected = (settings["encoder_hid_dim_type"], settings["encoder_hid_dim"] is not None)
    types = *settings["down_block_types"], *settings["up_block_types"]
    return projected in ((None, False), ("text_proj", True)) and BLOCKS.keys() >= set(types)


class Output(NamedTuple):
    """What the network returns."""

    sample: Tensor


class SmallUNet(nn.Module):
    """A U-Net with attention to the text in some of its blocks; `settings` are those of diffusers, which `fits` has accepted."""

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__()
        widths, layers = settings["block_out_channels"], settings["layers_per_block"]
        reads = [BLOCKS[name] for name in settings["down_block_types"]], [BLOCKS[name] for name in settings["up_block_types"]]
        text = settings["encoder_hid_dim"] or settings["cross_attention_dim"]
        shape = Shape(
            4 * widths[0],
            settings["norm_num_groups"],
            settings["norm_eps"],
            settings["attention_head_dim"],
            settings["cross_attention_dim"],
        )
        self.conv_in = nn.Conv2d(settings["in_channels"], widths[0], 3, padding=1)
        self.time_embedding = TimeEmbedding(widths[0], shape.time)
        projected = settings["encoder_hid_dim"] is not None
        self.encoder_hid_proj = nn.Linear(text, shape.text) if projected else nn.Identity()
        self.add_embedding = TextEmbedding(text, shape.time, settings["addition_embed_type_num_heads"])
        ends, last = [widths[0], *widths], len(widths) - 1
        self.down_blocks = nn.ModuleList(
            Block([ends[i], *[widths[i]] * (layers - 1)], [], widths[i], shape, reads[0][i], "down" if i < last else "")
            for i in range(len(widths))
        )
        self.mid_block = MiddleBlock(widths[-1], shape)
        # every layer on the way up also reads what one on the way down has written
        written = [widths[0], *(width for i, width in enumerate(widths) for width in [width] * (layers + (i < last)))]
        back, before = widths[::-1], [widths[-1], *widths[::-1]]
        self.up_blocks = nn.ModuleList()
        for i, width in enumerate(back):
            skips = [written.pop() for _ in range(layers + 1)]
            block = Block([before[i], *[width] * layers], skips, width, shape, reads[1][i], "up" if i < last else "")
            self.up_blocks.append(block)
        self.conv_norm_out = nn.GroupNorm(shape.groups, widths[0], shape.eps)
        self.conv_out = nn.Conv2d(widths[0], settings["out_channels"], 3, padding=1)

    def forward(
        self, image: Float[Tensor, "B D h w"], t: Num[Tensor, "B"], tokens: Float[Tensor, "B L T"], return_dict: bool = False
    ) -> Output:
        """The prediction at noised images, timesteps and tokens of the text; always a tuple of one."""
        time = silu(self.time_embedding(t.expand(len(image)), image.dtype) + self.add_embedding(tokens))
        tokens = self.encoder_hid_proj(tokens)
        x = self.conv_in(image)
        skips = [x]
        for block in self.down_blocks:
            x = block(x, time, tokens, skips)
        x = self.mid_block(x, time, tokens)
        for block in self.up_blocks:
            x = block(x, time, tokens, skips)
        return Output(self.conv_out(silu(self.conv_norm_out(x))))


class Shape(NamedTuple):
    """Numbers that all blocks share."""

    time: int
    groups: int
    eps: float
    heads: int
    text: int


class TimeEmbedding(nn.Module):
    """Two layers on sines and cosines of the timestep."""

    def __init__(self, waves: int, width: int) -> None:
        super().__init__()
        self.waves = waves
        self.linear_1, self.linear_2 = nn.Linear(waves, width), nn.Linear(width, width)

    def forward(self, t: Num[Tensor, "B"], dtype: torch.dtype) -> Float[Tensor, "B E"]:
        """The embedding; waves are computed in float32."""
        half = self.waves // 2
        frequency = torch.exp(-log(10000) * torch.arange(half, dtype=torch.float32, device=t.device) / half)
        angle = t[:, None].float() * frequency
        return self.linear_2(silu(self.linear_1(torch.cat([angle.cos(), angle.sin()], -1).to(dtype))))


class TextEmbedding(nn.Module):
    """The text as a whole, added to the time."""

    def __init__(self, text: int, width: int, heads: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(text), nn.LayerNorm(width)
        self.pool, self.proj = AttentionPooling(text, heads), nn.Linear(text, width)

    def forward(self, tokens: Float[Tensor, "B L T"]) -> Float[Tensor, "B E"]:
        """The embedding."""
        return self.norm2(self.proj(self.pool(self.norm1(tokens))))


class AttentionPooling(nn.Module):
    """Attention of the mean token to itself and all tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.positional_embedding = nn.Parameter(torch.zeros(1, width))
        self.q_proj, self.k_proj, self.v_proj = (nn.Linear(width, width) for _ in range(3))

    def forward(self, tokens: Float[Tensor, "B L T"]) -> Float[Tensor, "B T"]:
        """One token."""
        mean = tokens.mean(1, keepdim=True) + self.positional_embedding
        tokens = torch.cat([mean, tokens], 1)
        return attend(self.q_proj(mean), self.k_proj(tokens), self.v_proj(tokens), self.heads)[:, 0]


class Block(nn.Module):
    """Residual layers at one resolution, each followed by attention if it `reads` the text, then a change of the resolution."""

    def __init__(self, inputs: list[int], skips: list[int], width: int, shape: Shape, reads: bool, change: str) -> None:
        super().__init__()
        self.down, self.skipping = change == "down", bool(skips)
        sizes = [own + skip for own, skip in zip(inputs, skips or [0] * len(inputs), strict=True)]
        self.resnets = nn.ModuleList(Residual(size, width, shape) for size in sizes)
        self.attentions = nn.ModuleList(SpatialTransformer(width, shape) for _ in sizes if reads)
        self.downsamplers = nn.ModuleList([Resampler(width, 2)] if change == "down" else [])
        self.upsamplers = nn.ModuleList([Resampler(width, 1)] if change == "up" else [])

    def forward(self, x: Tensor, time: Tensor, tokens: Tensor, skips: list[Tensor]) -> Float[Tensor, "B D h w"]:
        """The features; on the way down they are added to `skips`, on the way up taken from there."""
        for index, residual in enumerate(self.resnets):
            x = residual(torch.cat([x, skips.pop()], 1) if self.skipping else x, time)
            if self.attentions:
                x = self.attentions[index](x, tokens)
            if not self.skipping:
                skips.append(x)
        for resampler in self.downsamplers:
            x = resampler.conv(x)
            skips.append(x)
        for resampler in self.upsamplers:
            x = resampler.conv(interpolate(x, size=skips[-1].shape[2:], mode="nearest"))
        return x


class MiddleBlock(nn.Module):
    """Two residual layers with attention between them."""

    def __init__(self, width: int, shape: Shape) -> None:
        super().__init__()
        self.resnets = nn.ModuleList(Residual(width, width, shape) for _ in range(2))
        self.attentions = nn.ModuleList([SpatialTransformer(width, shape)])

    def forward(self, x: Tensor, time: Tensor, tokens: Tensor) -> Float[Tensor, "B D h w"]:
        """The features."""
        return self.resnets[1](self.attentions[0](self.resnets[0](x, time), tokens), time)


class Resampler(nn.Module):
    """The convolution of a change of resolution."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride, padding=1)


class Residual(nn.Module):
    """Two convolutions with a shortcut; the time scales and shifts between them."""

    def __init__(self, inputs: int, width: int, shape: Shape) -> None:
        super().__init__()
        self.norm1, self.norm2 = (nn.GroupNorm(shape.groups, channels, shape.eps) for channels in (inputs, width))
        self.conv1, self.conv2 = nn.Conv2d(inputs, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1)
        self.time_emb_proj = nn.Linear(shape.time, 2 * width)
        self.conv_shortcut = nn.Conv2d(inputs, width, 1) if inputs != width else nn.Identity()

    def forward(self, x: Float[Tensor, "B C h w"], time: Float[Tensor, "B E"]) -> Float[Tensor, "B D h w"]:
        """The features; `time` is activated already."""
        scale, shift = self.time_emb_proj(time)[:, :, None, None].chunk(2, 1)
        hidden = self.norm2(self.conv1(silu(self.norm1(x)))) * (1 + scale) + shift
        return self.conv_shortcut(x) + self.conv2(silu(hidden))


class SpatialTransformer(nn.Module):
    """A transformer block over the pixels."""

    def __init__(self, width: int, shape: Shape) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(shape.groups, width, INNER_EPS)
        self.proj_in, self.proj_out = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        self.transformer_blocks = nn.ModuleList([TransformerBlock(width, shape)])

    def forward(self, x: Float[Tensor, "B D h w"], tokens: Float[Tensor, "B L T"]) -> Float[Tensor, "B D h w"]:
        """The features."""
        hidden = self.proj_in(self.norm(x))
        pixels = self.transformer_blocks[0](hidden.flatten(2).transpose(1, 2), tokens)
        return self.proj_out(pixels.transpose(1, 2).unflatten(2, x.shape[2:])) + x


class TransformerBlock(nn.Module):
    """Attention among the pixels, attention to the text, two layers per pixel."""

    def __init__(self, width: int, shape: Shape) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.attn1, self.attn2 = Attention(width, width, shape.heads), Attention(width, shape.text, shape.heads)
        self.ff = FeedForward(width)

    def forward(self, x: Float[Tensor, "B P D"], tokens: Float[Tensor, "B L T"]) -> Float[Tensor, "B P D"]:
        """The pixels."""
        normed = self.norm1(x)
        x = self.attn1(normed, normed) + x
        x = self.attn2(self.norm2(x), tokens) + x
        return self.ff(self.norm3(x)) + x


class Attention(nn.Module):
    """Attention of several heads."""

    def __init__(self, width: int, other: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k, self.to_v = (nn.Linear(other, width, bias=False) for _ in range(2))
        self.to_out = nn.ModuleList([nn.Linear(width, width)])

    def forward(self, x: Float[Tensor, "B P D"], other: Float[Tensor, "B L T"]) -> Float[Tensor, "B P D"]:
        """What `x` reads of `other`."""
        return self.to_out[0](attend(self.to_q(x), self.to_k(other), self.to_v(other), self.heads))


class FeedForward(nn.Module):
    """Two layers, gated between."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.net = nn.ModuleList([Gate(width, 4 * width), nn.Identity(), nn.Linear(4 * width, width)])

    def forward(self, x: Float[Tensor, "B P D"]) -> Float[Tensor, "B P D"]:
        """The pixels."""
        value, gate = self.net[0].proj(x).chunk(2, -1)
        return self.net[2](value * gelu(gate))


class Gate(nn.Module):
    """The first layer, which gives values and gates."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.proj = nn.Linear(width, 2 * inner)


def attend(
    query: Float[Tensor, "B P D"], key: Float[Tensor, "B L D"], value: Float[Tensor, "B L D"], heads: int
) -> Float[Tensor, "B P D"]:
    """Scaled dot-product attention of `heads` heads."""
    split = (part.unflatten(2, (heads, -1)).transpose(1, 2) for part in (query, key, value))
    return scaled_dot_product_attention(*split).transpose(1, 2).flatten(2)
