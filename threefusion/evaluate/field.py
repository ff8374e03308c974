"""Metrics of the trained scene: fidelity of the mesh, opacity entropy, and view dependence of the colours."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import grid_sample, normalize

from threefusion.camera.orbit import views_around
from threefusion.camera.projection import clip_coordinates
from threefusion.evaluate.keys import FIDELITY_KEYS
from threefusion.evaluate.surface import surface_samples
from threefusion.evaluate.views import with_normals
from threefusion.exporter.fidelity import FieldViews, compare, field_views
from threefusion.ops.rasterize import rasterize
from threefusion.renderer.renderer import Renderer
from threefusion.types import Cameras, Mesh, Scene

SIZE = 64
POINTS = 4000
"""Surface points whose colours are compared between views."""
FACING = 0.5
"""Minimum cosine between normal and view direction: grazing rays integrate colours of other points."""
TOLERANCE = 0.01
"""Depth tolerance of the visibility test, relative to the camera distance."""
MIN_VIEWS = 3


@torch.no_grad()
def render_field(renderer: Renderer, scene: Scene, views: int, size: int = SIZE) -> FieldViews:
    """Render the field from `views` directions, offset by half an interval from those that selected the mesh's level."""
    return field_views(renderer, scene, views_around(scene.geometry.radius, views, size, start=0.5))


def fidelity(mesh: Mesh | None, field: FieldViews | None) -> dict[str, float | None]:
    """Silhouette IoU and PSNR (dB, over pixels covered by both) of the mesh against the field."""
    if field is None or mesh is None:
        return dict.fromkeys(FIDELITY_KEYS)
    result = compare(with_normals(mesh), field)
    return {"silhouette_iou": result["silhouette_iou"], "psnr": result["albedo_psnr"]}


def opacity_entropy(field: FieldViews) -> float:
    """Mean binary entropy of the opacity in bits: 0 for hard surfaces, 1 for opacity 0.5 everywhere."""
    p = field.opacity.double().clamp(1e-9, 1 - 1e-9)
    return float(-(p * p.log2() + (1 - p) * (1 - p).log2()).mean())


def color_spread(mesh: Mesh, field: FieldViews) -> float | None:
    """Standard deviation of a surface point's colour over the field's views, mean over points; None if too few views see any.

    Per point: the square root of the sum of the variances of its sRGB channels, over the views in which it is visible, its normal
    has a cosine above `FACING`, and the opacity is above 0.5.
    """
    points, face = surface_samples(mesh, POINTS)
    if len(points) == 0:
        return None
    a, b, c = mesh.vertices[mesh.faces[face]].unbind(1)
    normals = normalize(torch.linalg.cross(b - a, c - a), dim=-1)
    colors, seen = _observed_colors(mesh, points, normals, field)
    count = seen.sum(0)
    enough = count >= MIN_VIEWS
    if not enough.any():
        return None
    weight = seen[..., None].double()
    share = count.clamp_min(1)[:, None]
    mean = (colors * weight).sum(0) / share
    variance = ((colors - mean).square() * weight).sum(0) / share
    return float(variance.sum(-1).sqrt()[enough].mean())


def _observed_colors(
    mesh: Mesh, points: Float[Tensor, "N 3"], normals: Float[Tensor, "N 3"], field: FieldViews
) -> tuple[Float[Tensor, "B N 3"], Bool[Tensor, "B N"]]:
    """Colour of the field at each point in each view, and whether the point is visible."""
    camera = field.batch.camera
    clip = clip_coordinates(points, camera)
    position = clip[..., :2] / clip[..., 3:] * clip.new_tensor([1.0, -1.0])
    visible = rasterize(clip_coordinates(mesh.vertices, camera), mesh.faces, camera.height, camera.width)
    toward = camera.position[:, None] - points
    distance = toward.norm(dim=-1)
    facing = (toward * normals).sum(-1) / distance.clamp_min(1e-9)
    # depth along the optical axis, so that differences are lengths
    front = _sample_nearest(_axis_depth(visible.depth, camera)[..., None], position)[..., 0]
    near = clip[..., 3] <= front + TOLERANCE * camera.distance[:, None]
    opaque = _sample_nearest(field.opacity, position)[..., 0] > 0.5
    return _sample_nearest(field.albedo, position).double(), (facing > FACING) & near & opaque


def _axis_depth(depth: Float[Tensor, "B H W"], camera: Cameras) -> Float[Tensor, "B H W"]:
    """Depth along the optical axis from z / w in [-1, 1]."""
    near, far = camera.near, camera.far
    return 2 * far * near / ((far + near) - depth * (far - near))


def _sample_nearest(image: Float[Tensor, "B H W C"], position: Float[Tensor, "B N 2"]) -> Float[Tensor, "B N C"]:
    """Values of the pixels at positions in [-1, 1], y down."""
    pixels = grid_sample(image.permute(0, 3, 1, 2), position[:, None], mode="nearest", align_corners=False)
    return pixels[:, :, 0].transpose(1, 2)
