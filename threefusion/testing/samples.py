"""Small inputs of every kind."""

from __future__ import annotations

import torch
from torch import Tensor

from threefusion.background.settings import SolidConfig
from threefusion.camera.orbit import orbit_views
from threefusion.config import Settings
from threefusion.geometry.geometry import BuildContext
from threefusion.geometry.settings import DensityFieldConfig
from threefusion.material.settings import DiffuseConfig
from threefusion.registry import build
from threefusion.renderer.renderer import Renderer
from threefusion.renderer.settings import VolumeConfig
from threefusion.types import PromptEmbeddings, RenderedSamples, RenderOutput, Scene, Shading, ViewBatch


def views(count: int = 2, size: int = 8, first: int = 0, shading: Shading = Shading.ALBEDO, of: int = 4) -> ViewBatch:
    """Views `first` to `first + count - 1` of `of` views round the object; a view is the same in whatever batch it comes."""
    circle = orbit_views(of, elevation=0.3, distance=2.0, fovy=0.8, height=size, width=size, shading=shading)
    return circle.select(torch.arange(first, first + count))


def gaussian_embedding(count: int, negative: bool = True) -> PromptEmbeddings:
    """Texts for the prior `gaussian`: a token holds the mean colour and the standard deviation that it stands for."""

    def tokens(mean: float, std: float) -> Tensor:
        return torch.tensor([mean, 0.5 * mean, 0.2, std]).expand(count, 1, 4)

    return PromptEmbeddings(tokens(0.8, 0.4), tokens(0.5, 0.6), tokens(0.1, 0.5)[:, None] if negative else None)


def small_scene(
    geometry: Settings | None = None,
    material: Settings | None = None,
    background: Settings | None = None,
    renderer: Settings | None = None,
) -> tuple[Scene, Renderer]:
    """An untrained scene and its renderer, each part the default one unless given; the same parameters every time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        built_material = build(material or DiffuseConfig())
        context = BuildContext(built_material.feature_width)
        built_geometry = build(geometry or DensityFieldConfig(), context)
        built_background = build(background or SolidConfig())
        return Scene(built_geometry, built_material, built_background), build(renderer or VolumeConfig())


def synthetic_render(batch: ViewBatch) -> RenderOutput:
    """Made-up images of a batch, each a function of its view's index, with gradients wherever a render has them."""
    camera = batch.camera
    count, height, width = len(camera), camera.height, camera.width
    per_view = 3 * height * width
    image = batch.rand("image", height, width, 3).requires_grad_()
    opacity = (0.1 + 0.8 * batch.rand("opacity", height, width, 1)).requires_grad_()
    depth = (1 + batch.rand("depth", height, width, 1)).requires_grad_()
    normal = torch.nn.functional.normalize(batch.randn("normal", height, width, 3), dim=-1).requires_grad_()
    samples = RenderedSamples(
        weights=(batch.rand("weights", per_view).flatten() / 3).requires_grad_(),
        normal=torch.nn.functional.normalize(batch.randn("sample normal", per_view, 3).flatten(0, 1), dim=-1).requires_grad_(),
        direction=torch.nn.functional.normalize(batch.randn("direction", per_view, 3).flatten(0, 1), dim=-1),
        view_index=torch.arange(count).repeat_interleave(per_view),
    )
    return RenderOutput(image, opacity, depth, normal, samples)
