"""Colours of samples of a geometry, as the views of a batch see them."""

from __future__ import annotations

from dataclasses import replace

from jaxtyping import Float, Int
from torch import Tensor

from threefusion.machine.tensors import send
from threefusion.material.material import Material
from threefusion.types import FieldSample, Lights, ViewBatch


def shade(
    material: Material, field: FieldSample, direction: Float[Tensor, "N 3"], view_index: Int[Tensor, "N"], views: ViewBatch
) -> Float[Tensor, "N 3"]:
    """The colour of each sample, under the light of its view and with the shading of its view.

    Args:
        material: the scene's material.
        field: the samples, with normals if `material.needs_normal`.
        direction: unit direction of each sample's ray.
        view_index: the view of each sample.
        views: cameras and lights in the frame of the geometry.
    """
    light = views.light
    per_view = (light.position, light.color, light.ambient, light.turn)
    # index_select: several times as fast as an index in brackets
    light = Lights(*(None if value is None else value.index_select(0, view_index) for value in per_view))
    camera = views.camera.c2w[:, :3, :3].index_select(0, view_index) if material.reads_camera else None
    shading = send(views.shading, view_index.device).index_select(0, view_index)
    return material(replace(field, direction=direction, camera=camera), light, shading)
