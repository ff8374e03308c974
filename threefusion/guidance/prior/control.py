"""ControlNet: a network beside a U-Net that is given an image of the scene's shape, its depth or its normals."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from threefusion.camera.projection import camera_rays
from threefusion.guidance.prior.known_models import NETWORKS
from threefusion.guidance.prior.model_settings import ModelSettings, model_settings
from threefusion.guidance.prior.models import resolve
from threefusion.guidance.prior.reading import read_network
from threefusion.types import Cameras, RenderOutput

SHARED = (
    "down_block_types", "block_out_channels", "layers_per_block", "cross_attention_dim", "addition_embed_type", "act_fn",
    "norm_num_groups", "flip_sin_to_cos", "freq_shift",
)  # fmt: skip
"""Fields in which a ControlNet is a copy of its U-Net."""


def check_control(control: ModelSettings, unet: ModelSettings) -> None:
    """Check that a ControlNet belongs to the U-Net and takes one colour image.

    Raises:
        ModelError: a field has a value that is not supported.
    """
    for field in ("in_channels", *SHARED):
        own, other = (list(value) if isinstance(value, tuple | list) else value for value in (control[field], unet[field]))
        if own != other:
            raise control.error(field, f"but it is {other} in {unet.file}")
    control.refuse("conditioning_channels", (3,), "expected 3, a colour image")
    control.refuse("controlnet_conditioning_channel_order", ("rgb",), "expected rgb")
    control.refuse("global_pool_conditions", (False,), "not supported")
    control.refuse("class_embed_type", (None,), "the network takes class labels, which is not supported")


def control_name(index: int) -> str:
    """What a ControlNet is called among a prior's networks."""
    return f"control.{index}"


def read_control(model: str, unet: ModelSettings) -> nn.Module:
    """A ControlNet for the U-Net, in the precision of its file.

    Raises:
        ModelError: it is unavailable, cannot be read, or does not belong to the U-Net.
    """
    from diffusers import ControlNetModel

    folder = resolve(model, NETWORKS["controlnet"])
    check_control(model_settings(folder, "."), unet)
    return read_network(ControlNetModel, folder)


class ControlledUNet(nn.Module):
    """A U-Net with ControlNets whose outputs, times their scales, are added to its skip connections."""

    def __init__(self, unet: nn.Module, controls: list[nn.Module], scales: list[float]) -> None:
        super().__init__()
        self.unet = unet
        self.controls = nn.ModuleList(controls)
        self.scales = scales

    def forward(
        self,
        z: Float[Tensor, "B C h w"],
        timesteps: Int[Tensor, "B"],
        tokens: Float[Tensor, "B L D"],
        *further: Tensor,
        **options: Any,
    ) -> Any:
        """The U-Net's output; `further` are pooled text and sizes of Stable Diffusion XL, then control images side by side."""
        *sized, images = further
        added = {"added_cond_kwargs": dict(zip(("text_embeds", "time_ids"), sized, strict=True))} if sized else {}
        outputs = []
        for control, scale, image in zip(self.controls, self.scales, images.split(3, dim=1), strict=True):
            down, mid = control(z, timesteps, tokens, image, conditioning_scale=scale, return_dict=False, **added)
            outputs.append((*down, mid))
        *down, mid = (sum(parts[1:], parts[0]) for parts in zip(*outputs, strict=True))
        residuals = {"down_block_additional_residuals": tuple(down), "mid_block_additional_residual": mid}
        return self.unet(z, timesteps, tokens, **added, **residuals, **options)


def control_image(what: str, render: RenderOutput, cameras: Cameras, size: int) -> Float[Tensor, "B 3 size size"]:
    """The render's depth or normals as ControlNets were trained on them, in [0, 1], without gradient."""
    image = inverse_depth(render, cameras) if what == "depth" else view_normals(render, cameras, what == "normal-bae")
    image = image.detach().permute(0, 3, 1, 2)
    if image.shape[2:] != (size, size):
        image = functional.interpolate(image, (size, size), mode="bilinear", antialias=True)
    return image.clamp(0, 1).expand(-1, 3, -1, -1)


def inverse_depth(render: RenderOutput, cameras: Cameras) -> Float[Tensor, "B H W 1"]:
    """One over the distance from the camera's plane, from 0 to 1 in each view; 0 is infinitely far, where nothing is."""
    height, width = render.depth.shape[1:3]
    rays = camera_rays(replace(cameras, height=height, width=width))
    forward = -cameras.c2w[:, None, :3, 2]
    along = (rays.directions.view(len(cameras), -1, 3) * forward).sum(-1).view(len(cameras), height, width, 1)
    # the mean distance of what is there is depth / opacity; opacity once more so that edges fade into the background
    inverse = render.opacity.square() / (render.depth * along).clamp(min=1e-6)
    inverse = torch.where(render.opacity > 1e-3, inverse, 0.0)
    low, high = inverse.amin((1, 2, 3), keepdim=True), inverse.amax((1, 2, 3), keepdim=True)
    return (inverse - low) / (high - low).clamp(min=1e-6)


def view_normals(render: RenderOutput, cameras: Cameras, red_is_left: bool) -> Float[Tensor, "B H W 3"]:
    """Normals in the camera's axes as colours: x to the right (or the left), y up, z towards the viewer, as the background is."""
    assert render.normal is not None
    local = torch.einsum("bij,bhwi->bhwj", cameras.c2w[:, :3, :3], render.normal)
    if red_is_left:
        local = local * local.new_tensor([-1.0, 1.0, 1.0])
    towards = local.new_tensor([0.0, 0.0, 1.0])
    return 0.5 * (torch.lerp(towards.expand_as(local), local, render.opacity.clamp(0, 1)) + 1)
