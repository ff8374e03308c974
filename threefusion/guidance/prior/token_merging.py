"""Token merging: similar tokens share one place in self-attention over large maps (arXiv 2210.09461, 2303.17604)."""

from __future__ import annotations

from math import isqrt
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from threefusion.guidance.prior.files import ModelError


class MergedTokens:
    """Pairs the tokens of a square map: of every 2 x 2 tokens the first one receives, the `share` that is most similar gives.

    Without random choices, so that the same map is merged in the same way.
    """

    def __init__(self, x: Float[Tensor, "B N C"], share: float) -> None:
        side = isqrt(x.shape[1])
        cells = torch.arange(side**2, device=x.device).view(side // 2, 2, side // 2, 2).transpose(1, 2).reshape(-1, 4)
        unit = normalize(x, dim=-1)
        # the first token of each cell, then all others, cell by cell
        self.order = torch.cat([cells[:, 0], cells[:, 1:].flatten()])
        self.receivers = len(cells)
        unit = unit[:, self.order]
        similarity = unit[:, self.receivers :] @ unit[:, : self.receivers].transpose(1, 2)
        best, nearest = similarity.max(-1)
        given = int(share * side**2)
        self.givers, self.kept = best.argsort(dim=-1, descending=True, stable=True).split([given, len(best[0]) - given], -1)
        self.target = nearest.gather(1, self.givers)

    def merge(self, x: Float[Tensor, "B N C"]) -> Float[Tensor, "B M C"]:
        """Means of the tokens that were merged, then the others."""
        receivers, others = x[:, self.order].split([self.receivers, x.shape[1] - self.receivers], 1)
        # a matrix of zeros and ones: sums at random indices have no fixed order on a GPU
        members = (self.target[:, None] == torch.arange(self.receivers, device=x.device)[:, None]).to(x.dtype)
        total = receivers + members @ _take(others, self.givers)
        return torch.cat([total / (1 + members.sum(-1, keepdim=True)), _take(others, self.kept)], 1)

    def unmerge(self, y: Float[Tensor, "B M C"]) -> Float[Tensor, "B N C"]:
        """Every token with the value of the one that it was merged into."""
        receivers, kept = y.split([self.receivers, y.shape[1] - self.receivers], 1)
        others = torch.cat([_take(receivers, self.target), kept], 1)
        others = _take(others, torch.cat([self.givers, self.kept], 1).argsort(-1))
        return torch.cat([receivers, others], 1)[:, self.order.argsort()]


class MergedAttention:
    """An attention processor of diffusers on fewer tokens."""

    def __init__(self, processor: Any, share: float) -> None:
        self.processor, self.share = processor, share

    def __call__(
        self, attention: nn.Module, hidden_states: Float[Tensor, "B N C"], *args: Any, **kwargs: Any
    ) -> Float[Tensor, "B N C"]:
        """Self-attention of the merged tokens, for all tokens."""
        tokens = MergedTokens(hidden_states, self.share)
        return tokens.unmerge(self.processor(attention, tokens.merge(hidden_states), *args, **kwargs))


def merge_tokens(unet: nn.Module, share: float, size: int) -> None:
    """Merge tokens in the self-attention over the largest map that has any, for images of `size` at the U-Net's input.

    Raises:
        ModelError: that map has an odd side.
    """
    blocks = list(unet.down_blocks)
    first = next((index for index, block in enumerate(blocks) if getattr(block, "attentions", None)), len(blocks) - 1)
    if size % 2 ** (first + 1):
        raise ModelError(
            f"guidance.prior.token_merging: expected latents whose side is a multiple of {2 ** (first + 1)}, not {size}"
        )
    for block in (blocks[first], unet.up_blocks[len(blocks) - 1 - first]):
        for module in block.modules():
            if type(module).__name__ == "BasicTransformerBlock":
                module.attn1.set_processor(MergedAttention(module.attn1.processor, share))


def _take(x: Float[Tensor, "B N C"], index: Tensor) -> Float[Tensor, "B M C"]:
    """The tokens at `index`, `[B M]`."""
    return x.gather(1, index[..., None].expand(-1, -1, x.shape[-1]))
