"""What a prior was shown in a step and what it wanted, as pictures."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import interpolate

from threefusion.viewer.channels import untouched

if TYPE_CHECKING:
    from threefusion.guidance.guidance import DiffusionGuidance, Seen

VIEWS = 4
"""Views of the batch that are shown side by side."""
HEIGHT = 96
"""Height of each in pixels."""


def pictures_of(objective: DiffusionGuidance, seen: Seen) -> dict[str, np.ndarray]:
    """The first views of a batch in a row, `[H, W, 3]` in 8 bits, by caption."""
    with untouched():
        noised, decode = seen.noised, objective.prior.decode
        times = ", ".join(f"{t:.2f}" for t in noised.t[:VIEWS].tolist())
        shown = {"Views": decode(noised.x[:VIEWS]), f"Noised views (t = {times})": decode(noised.z[:VIEWS])}
        if seen.noise is not None:
            shown["One-step prediction"] = decode(noised.clean(seen.noise)[:VIEWS])
        shown["Wanted change"] = wanted_change(seen.gradient[:VIEWS])
        return {caption: in_a_row(images) for caption, images in shown.items()}


def wanted_change(gradient: Float[Tensor, "B C h w"]) -> Float[Tensor, "B h w 3"]:
    """Minus the gradient as colours round grey, each view scaled to its largest; its length where the prior is no pixel space."""
    if gradient.shape[1] != 3:
        gradient = -gradient.norm(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    largest = gradient.abs().flatten(1).amax(1).clamp_min(1e-12).view(-1, 1, 1, 1)
    return (0.5 - 0.5 * gradient / largest).permute(0, 2, 3, 1)


def in_a_row(images: Float[Tensor, "B h w 3"]) -> np.ndarray:
    """The images side by side, `[HEIGHT, W, 3]` in 8 bits."""
    enlarged = interpolate(images.float().permute(0, 3, 1, 2).nan_to_num(), (HEIGHT, HEIGHT), mode="nearest")
    row = torch.cat(list(enlarged.permute(0, 2, 3, 1)), dim=1)
    return (row.clamp(0, 1) * 255).round().byte().cpu().numpy()
