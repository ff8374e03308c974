"""Timing of marching, compositing and rasterization."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor

from threefusion.camera.projection import camera_rays, clip_coordinates
from threefusion.ops.composite import packed_weights, weighted_sums
from threefusion.ops.rasterize import rasterize
from threefusion.perf.scene import BALL, SEED, fixed_scene, fixed_views, march_steps
from threefusion.perf.timing import Candidate, on, runnable

CHANNELS = 5
"""What is composited: colour, opacity, depth."""
SUBDIVISIONS = 5
"""Of the icosahedron that is rasterised: 20,480 faces."""


def march_candidates(sizes: Sequence[tuple[int, int]], device: torch.device) -> Iterator[Candidate]:
    """The fixed scene's sampler, for (batch, resolution) in `sizes`; `points` are the steps inside the outer ball."""
    scene, renderer = fixed_scene(device)
    sampler = partial(renderer.sampler, scene.geometry.radius)
    for batch, resolution in sizes:
        views = fixed_views(batch, resolution, device)
        rays, steps = camera_rays(views.camera), march_steps(views)
        samples = len(sampler(rays, views, True).t_start)
        size = {"batch": batch, "resolution": resolution, "points": steps}
        for name in runnable(device, "march"):
            call = on(name, lambda rays=rays, views=views: sampler(rays, views, True))
            yield Candidate(name, "march", size, call, {"samples": samples})


def composite_candidates(sizes: Sequence[tuple[int, int]], device: torch.device) -> Iterator[Candidate]:
    """Weights and weighted sums of the fixed scene's samples, forward and backward."""
    scene, renderer = fixed_scene(device)
    sampler = partial(renderer.sampler, scene.geometry.radius)
    for batch, resolution in sizes:
        views = fixed_views(batch, resolution, device)
        ray_index = sampler(camera_rays(views.camera), views, True).ray_index
        size = {"batch": batch, "resolution": resolution, "points": len(ray_index)}
        for name in runnable(device, "composite"):
            call = on(name, _composite_call(ray_index, batch * resolution**2))
            yield Candidate(name, "forward+backward", size, call)


def _composite_call(ray_index: Tensor, rays: int) -> Callable[[], None]:
    random = torch.Generator().manual_seed(SEED)
    depth = (0.3 * torch.rand(len(ray_index), generator=random)).to(ray_index.device).requires_grad_()
    values = torch.rand(len(ray_index), CHANNELS, generator=random).to(ray_index.device).requires_grad_()
    gradient = torch.rand(rays, CHANNELS, generator=random).to(ray_index.device)

    def call() -> None:
        depth.grad = values.grad = None
        weights = packed_weights(depth, ray_index, rays)
        weighted_sums(weights, values, ray_index, rays).backward(gradient)

    return call


def rasterize_candidates(resolutions: Sequence[int], device: torch.device) -> Iterator[Candidate]:
    """The fixed scene's ball as a mesh of 20,480 faces, seen from its first camera."""
    vertices, faces = ball_mesh(device)
    for resolution in resolutions:
        clip = clip_coordinates(vertices, fixed_views(1, resolution, device).camera)
        size = {"batch": 1, "resolution": resolution, "points": resolution**2}
        for name in runnable(device, "rasterize"):
            call = torch.no_grad()(lambda clip=clip, resolution=resolution: rasterize(clip, faces, resolution, resolution))
            yield Candidate(name, "visibility", size, on(name, call))


def ball_mesh(device: torch.device) -> tuple[Tensor, Tensor]:
    """Vertices `[V 3]` and faces `[F 3]` of the ball."""
    from trimesh.creation import icosphere

    mesh = icosphere(subdivisions=SUBDIVISIONS, radius=BALL)
    return torch.tensor(mesh.vertices, dtype=torch.float32, device=device), torch.tensor(mesh.faces, device=device)
