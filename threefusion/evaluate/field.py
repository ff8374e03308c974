"""The field that a run trained: its own pictures, how opaque it is, and whether its colours depend on where one stands."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import grid_sample, normalize

from threefusion.evaluate.keys import FIDELITY_KEYS
from threefusion.evaluate.surface import surface_samples
from threefusion.evaluate.views import with_normals
from threefusion.exporter.fidelity import FieldViews, compare, evaluation_mode, field_views, views_around
from threefusion.ops.rasterize import rasterize
from threefusion.types import Cameras, Mesh, Scene

SIZE = 64
POINTS = 4000
"""Surface points whose colours are followed through the views."""
FACING = 0.5
"""Least cosine between a point's normal and the way to the camera: a grazing ray gathers colours from elsewhere."""
TOLERANCE = 0.01
"""How far behind the visible surface a point may lie and still count as seen, as a share of the camera's distance."""
LEAST_VIEWS = 3


@torch.no_grad()
def look_at_field(scene: Scene, views: int, size: int = SIZE) -> FieldViews:
    """The field from `views` directions, half an interval beside the front so that none of them chose the mesh's level."""
    with evaluation_mode(scene):
        return field_views(scene, views_around(scene.geometry.radius, views, size, start=0.5))


def fidelity(mesh: Mesh | None, field: FieldViews | None) -> dict[str, float | None]:
    """Silhouette IoU and PSNR (dB, over pixels where both show the object) of the mesh against the field's pictures."""
    if field is None or mesh is None:
        return dict.fromkeys(FIDELITY_KEYS)
    found = compare(with_normals(mesh), field)
    return {"silhouette_iou": found["silhouette_iou"], "psnr": found["albedo_psnr"]}


def opacity_entropy(field: FieldViews) -> float:
    """Mean over pixels of the binary entropy of the opacity, in bits: 0 for hard pictures, 1 for fog of one half."""
    p = field.opacity.double().clamp(1e-9, 1 - 1e-9)
    return float(-(p * p.log2() + (1 - p) * (1 - p).log2()).mean())


def color_spread(mesh: Mesh, field: FieldViews) -> float | None:
    """How much a surface point's colour differs between the field's views, averaged over points; None if too few views see any.

    For each point: the square root of the summed variances of its three sRGB channels over the views in which it is visible, at
    least half facing, and at least half opaque.
    """
    points, face = surface_samples(mesh, POINTS)
    if len(points) == 0:
        return None
    a, b, c = mesh.vertices[mesh.faces[face]].unbind(1)
    normals = normalize(torch.linalg.cross(b - a, c - a), dim=-1)
    colors, seen = _observed(mesh, points, normals, field)
    count = seen.sum(0)
    enough = count >= LEAST_VIEWS
    if not enough.any():
        return None
    weight = seen[..., None].double()
    share = count.clamp_min(1)[:, None]
    mean = (colors * weight).sum(0) / share
    variance = ((colors - mean).square() * weight).sum(0) / share
    return float(variance.sum(-1).sqrt()[enough].mean())


def _observed(
    mesh: Mesh, points: Float[Tensor, "N 3"], normals: Float[Tensor, "N 3"], field: FieldViews
) -> tuple[Float[Tensor, "B N 3"], Bool[Tensor, "B N"]]:
    """The field's colour at each point in each view, and whether the view sees the point there."""
    camera = field.batch.camera
    clip = _clip(points, camera)
    place = clip[..., :2] / clip[..., 3:] * clip.new_tensor([1.0, -1.0])
    visible = rasterize(_clip(mesh.vertices, camera), mesh.faces, camera.height, camera.width)
    toward = camera.position[:, None] - points
    distance = toward.norm(dim=-1)
    facing = (toward * normals).sum(-1) / distance.clamp_min(1e-9)
    # depth along the camera's axis, so that a difference is a length
    front = _read(_axis_depth(visible.depth, camera)[..., None], place)[..., 0]
    near = clip[..., 3] <= front + TOLERANCE * camera.distance[:, None]
    opaque = _read(field.opacity, place)[..., 0] > 0.5
    return _read(field.albedo, place).double(), (facing > FACING) & near & opaque


def _clip(points: Float[Tensor, "N 3"], camera: Cameras) -> Float[Tensor, "B N 4"]:
    """Homogeneous clip coordinates; the last one is the depth along the camera's axis."""
    return torch.cat([points, torch.ones_like(points[:, :1])], -1) @ camera.mvp().transpose(1, 2)


def _axis_depth(depth: Float[Tensor, "B H W"], camera: Cameras) -> Float[Tensor, "B H W"]:
    """z / w in [-1, 1] back to the distance along the camera's axis."""
    near, far = camera.near, camera.far
    return 2 * far * near / ((far + near) - depth * (far - near))


def _read(image: Float[Tensor, "B H W C"], place: Float[Tensor, "B N 2"]) -> Float[Tensor, "B N C"]:
    """The pixel in which each place, in [-1, 1] with y down, lies."""
    found = grid_sample(image.permute(0, 3, 1, 2), place[:, None], mode="nearest", align_corners=False)
    return found[:, :, 0].transpose(1, 2)
