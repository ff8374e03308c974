"""Small inputs for components of each kind."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from threefusion.background.settings import SolidConfig
from threefusion.camera.orbit import orbit_views
from threefusion.config import Settings
from threefusion.geometry.geometry import BuildContext
from threefusion.geometry.settings import DensityFieldConfig
from threefusion.geometry.tetrahedral_grid import bcc_grid
from threefusion.guidance.build import build_objective
from threefusion.guidance.embedding import TextEmbeddings, fill
from threefusion.guidance.guidance import DiffusionGuidance, Guidance
from threefusion.guidance.prior.conditioning import Conditioning
from threefusion.guidance.prior.prior import DiffusionPrior
from threefusion.guidance.prior.settings import GaussianConfig
from threefusion.guidance.settings import GuidanceConfig
from threefusion.material.settings import DiffuseConfig
from threefusion.ops.marching_tetrahedra import marching_tetrahedra
from threefusion.registry import build
from threefusion.renderer.renderer import Renderer
from threefusion.renderer.settings import VolumeConfig
from threefusion.types import Mesh, RenderedSamples, RenderOutput, Scene, Shading, ViewBatch, ViewTexts

POINTS = 12


def seeded(seed: int) -> torch.Generator:
    """A generator for made-up input."""
    return torch.Generator().manual_seed(seed)


def cube_points(count: int = POINTS) -> Tensor:
    """Points in [-1, 1]^3."""
    return 2 * torch.rand(count, 3, generator=seeded(0)) - 1


def unit_vectors(count: int = POINTS, seed: int = 1) -> Tensor:
    """Directions all round."""
    return nn.functional.normalize(torch.randn(count, 3, generator=seeded(seed)), dim=-1)


def seeded_build(cfg: Settings, *dependencies: object, seed: int = 0) -> Any:
    """A component with initial parameters that follow from `seed`."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build(cfg, *dependencies)


def views(
    count: int = 2, size: int = 8, first: int = 0, shading: Shading = Shading.ALBEDO, of: int = 4, group_size: int = 1
) -> ViewBatch:
    """Views `first` to `first + count - 1` of `of` views around the object; a view is the same in every batch."""
    circle = orbit_views(of, elevation=0.3, distance=2.0, fovy=0.8, height=size, width=size, shading=shading)
    return replace(circle, group=circle.index // group_size).select(torch.arange(first, first + count))


def sample_prompt(count: int, negative: bool = True) -> ViewTexts:
    """The texts "text", the empty one and "negative", the same for all views."""
    return ViewTexts(("text",), torch.ones(count, 1), ("negative",) if negative else ())


def sample_guidance(cfg: GuidanceConfig, prior: DiffusionPrior | None = None) -> Guidance:
    """An objective whose prior, `gaussian` unless given, takes the texts of `sample_prompt` for three different Gaussians."""
    objective = build_objective(cfg, lambda _: prior or build(GaussianConfig(image_size=8)))
    objective.embed_texts(["text", "", "negative"])
    if isinstance(objective, DiffusionGuidance):
        objective.embeddings = gaussian_embeddings(objective.templates)
    return objective


def gaussian_embeddings(templates: tuple[str, ...] = ()) -> TextEmbeddings:
    """The texts of `sample_prompt`, and each template filled with any of them, as different Gaussians."""
    texts = ["text", "", "negative"]
    gaussians = [(0.8, 0.4, 0.2, 0.4), (0.5, 0.25, 0.2, 0.6), (0.1, 0.05, 0.2, 0.5)]
    for template in templates:
        filled = dict.fromkeys(fill(template, text) for text in texts[:3])
        gaussians += [(0.3, 0.1 * (len(gaussians) + i), 0.6, 0.5) for i in range(len(filled))]
        texts += filled
    return TextEmbeddings(texts, Conditioning(torch.tensor(gaussians)[:, None]))


def image_render(image: Tensor) -> RenderOutput:
    """Images as if they had been rendered: opaque, with flat normals, of a scene that started from grey."""
    one = torch.ones_like(image[..., :1])
    normal = torch.zeros_like(image) + one.new_tensor([0.0, 0.0, 1.0])
    return RenderOutput(image, one, one, normal, source=RenderOutput(torch.full_like(image, 0.5), one, one, normal))


def small_ball(cells: int = 8) -> Mesh:
    """A closed mesh, for geometries that start from one."""
    positions, tets = bcc_grid(cells)
    return marching_tetrahedra(positions, positions.norm(dim=-1) - 0.5, tets)


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
        context = BuildContext(built_material.feature_width, surface=small_ball)
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
        ray_index=torch.arange(count * height * width).repeat_interleave(3),
        t=1 + batch.rand("t", per_view).flatten(),
        rays=count * height * width,
        gradient=batch.randn("gradient", per_view, 3).flatten(0, 1).requires_grad_(),
        nearby_normal=torch.nn.functional.normalize(batch.randn("nearby", per_view, 3).flatten(0, 1), dim=-1).requires_grad_(),
    )
    ball = small_ball()
    # the same for all views, as that of a scene is
    distances = torch.tensor([[-0.1, 0.2], [0.3, -0.2]], requires_grad=True)
    surface = Mesh((ball.vertices * torch.tensor([1.0, 1.3, 0.8])).requires_grad_(), ball.faces)
    source = RenderOutput(1 - image.detach(), opacity.detach(), depth.detach())
    return RenderOutput(image, opacity, depth, normal, samples, mesh=surface, edge_distances=distances, source=source)
