"""Turning cameras into the frame of a geometry, and renders and meshes back."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.camera.projection import wrap_angle
from threefusion.ops.rotation import turn
from threefusion.types import Mesh, RenderOutput, ViewBatch


def turn_views(views: ViewBatch, angle: Float[Tensor, ""]) -> ViewBatch:
    """Cameras and lights, the environment light included, turned about the vertical axis.

    >>> from threefusion.camera.orbit import orbit_views
    >>> front = orbit_views(1, elevation=0.0, distance=2.0, fovy=0.8, height=4, width=4)
    >>> turn_views(front, torch.tensor(torch.pi / 2)).camera.position.round().tolist()
    [[-0.0, 2.0, 0.0]]
    """
    camera, light = views.camera, views.light
    # the axes and the position are the columns of c2w
    c2w = torch.cat([turn(camera.c2w[:, :3].mT, angle).mT, camera.c2w[:, 3:]], 1)
    azimuth = wrap_angle(camera.azimuth + angle)
    of_environment = angle.expand(len(views)) if light.turn is None else light.turn + angle
    return replace(
        views,
        camera=replace(camera, c2w=c2w, azimuth=azimuth),
        light=replace(light, position=turn(light.position, angle), turn=of_environment),
    )


def turn_render(render: RenderOutput, angle: Float[Tensor, ""]) -> RenderOutput:
    """A render with its directions turned about the vertical axis; images and depths stay.

    >>> plain = torch.ones(1, 1, 1, 1)
    >>> render = RenderOutput(torch.zeros(1, 1, 1, 3), plain, plain, normal=torch.tensor([[[[1.0, 0.0, 0.0]]]]))
    >>> turn_render(render, torch.tensor(torch.pi / 2)).normal.round().flatten().tolist()
    [-0.0, 1.0, 0.0]
    """
    normal = None if render.normal is None else turn(render.normal, angle)
    samples = render.samples
    if samples is not None:
        directions = ("normal", "direction", "gradient", "nearby_normal")
        given = {name: value for name in directions if (value := getattr(samples, name)) is not None}
        samples = replace(samples, **{name: turn(value, angle) for name, value in given.items()})
    mesh = None if render.mesh is None else turn_mesh(render.mesh, angle)
    return replace(render, normal=normal, samples=samples, mesh=mesh)


def turn_mesh(mesh: Mesh, angle: Float[Tensor, ""]) -> Mesh:
    """A mesh turned about the vertical axis.

    >>> mesh = Mesh(torch.tensor([[1.0, 0.0, 3.0]]), torch.zeros(0, 3, dtype=torch.int64))
    >>> turn_mesh(mesh, torch.tensor(torch.pi)).vertices.round().tolist()
    [[-1.0, -0.0, 3.0]]
    """
    angle = angle.to(mesh.vertices.device)
    normals = None if mesh.normals is None else turn(mesh.normals, angle)
    return replace(mesh, vertices=turn(mesh.vertices, angle), normals=normals)
