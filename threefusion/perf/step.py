"""Whole steps of the fixed scene: render, backward pass, optimiser."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from threefusion.camera.projection import camera_rays
from threefusion.loss.settings import OrientationConfig
from threefusion.ops.backend import backend
from threefusion.optimizer.settings import AdamConfig
from threefusion.perf.scene import SEED, fixed_scene, fixed_views
from threefusion.perf.timing import Call, Candidate, Mark, runnable
from threefusion.registry import build
from threefusion.types import Shading, Want

OPERATIONS = ("grid", "march", "composite")
ALBEDO, NORMALS = "albedo", "analytic normals"


def step_candidates(sizes: Sequence[tuple[int, int]], device: torch.device) -> Iterator[Candidate]:
    """Steps with the albedo alone for (batch, resolution) in `sizes`, and for the first of them also with analytic normals.

    The latter are lit and have the orientation loss. What stands in for the guidance is a fixed random gradient in the image.
    """
    for case, (batch, resolution) in [(ALBEDO, sizes[0]), (NORMALS, sizes[0]), *((ALBEDO, size) for size in sizes[1:])]:
        scene, renderer = fixed_scene(device)
        views = fixed_views(batch, resolution, device)
        samples = len(renderer.sampler(scene.geometry.radius, camera_rays(views.camera), views, True).t_start)
        size = {"batch": batch, "resolution": resolution}
        counts = {"rays": batch * resolution**2, "points": samples}
        for name in runnable(device, *OPERATIONS):
            yield Candidate(name, case, size, step_call(name, batch, resolution, case == NORMALS, device), counts)


def step_call(name: str, batch: int, resolution: int, normals: bool, device: torch.device) -> Call:
    """One step of a scene of its own on backend `name`."""
    scene, renderer = fixed_scene(device)
    views = fixed_views(batch, resolution, device, Shading.LIT if normals else Shading.ALBEDO)
    optimizer = build(AdamConfig()).create(scene)
    orientation = build(OrientationConfig())
    random = torch.Generator().manual_seed(SEED)
    gradient = (torch.randn(batch, resolution, resolution, 3, generator=random) / resolution**2).to(device)

    def call(mark: Mark) -> None:
        with backend(name):
            optimizer.zero_grad(set_to_none=True)
            render = renderer(scene, views, Want(normals, normals, random=True))
            loss = (render.image * gradient).sum()
            if normals:
                loss = loss + orientation.cfg.weight(0) * orientation(render, views)
            mark("render")
            loss.backward()
            mark("backward")
            optimizer.step()
            mark("optimizer")

    return call
