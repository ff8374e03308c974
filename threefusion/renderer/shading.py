"""Colours of samples of a geometry, as the views of a batch see them."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor

from threefusion.machine.tensors import send
from threefusion.ops.rotation import turn
from threefusion.types import FieldSample, Lights, Scene, ViewBatch


def shade(
    scene: Scene, field: FieldSample, direction: Float[Tensor, "N 3"], view_index: Int[Tensor, "N"], views: ViewBatch
) -> Float[Tensor, "N C"]:
    """The colour of each sample, under the light of its view and with the shading of its view.

    Args:
        scene: whose material and heading count.
        field: the samples, with normals if `material.needs_normal`.
        direction: unit direction of each sample's ray.
        view_index: the view of each sample.
        views: cameras and lights in the frame of the geometry.
    """
    light = views.light
    per_view = (light.position, light.color, light.ambient, light.turn)
    # index_select: several times as fast as an index in brackets
    light = Lights(*(None if value is None else value.index_select(0, view_index) for value in per_view))
    shading = send(views.shading, view_index.device).index_select(0, view_index)
    return scene.material(replace(field, direction=direction, axes=_axes(scene, view_index, views)), light, shading)


def _axes(scene: Scene, view_index: Int[Tensor, "N"], views: ViewBatch) -> Float[Tensor, "N 3 3"] | None:
    """The axes that the material reads, as columns in the frame of the geometry."""
    if scene.material.reads_axes == "camera":
        return views.camera.c2w[:, :3, :3].index_select(0, view_index)
    if scene.material.reads_axes == "world":
        return turn(torch.eye(3, device=scene.device), -scene.heading).mT.expand(len(view_index), 3, 3)
    return None
