"""Antialiasing of rasterized images along silhouettes, which makes coverage differentiable in the vertex positions.

Along every silhouette edge, pixels on both sides of it are blended by how far the edge has moved across them. Edges are taken
from the mesh and not from the visible faces: on a fine mesh the faces at a silhouette are narrower than a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from threefusion.machine.tensors import TensorData
from threefusion.ops.backend import kernels
from threefusion.ops.precision import in_float32
from threefusion.ops.rasterize import Fragments

SMALLEST_W = 1e-9
"""Least distance along the optical axis of what is in front of the camera."""


@dataclass(frozen=True)
class MeshEdges:
    """The edges of a mesh, each once. An edge of more than two faces is listed once for every two of them."""

    ends: Int[Tensor, "E 2"]
    """Vertices, the lower index first."""
    half: Int[Tensor, "E 2"]
    """2 * face + 1 if the face runs along the edge from its first to its second end, else 2 * face; -1 for a missing face."""


def mesh_edges(faces: Int[Tensor, "F 3"]) -> MeshEdges:
    """The edges of a topology.

    Example:
        >>> edges = mesh_edges(torch.tensor([[0, 1, 2], [2, 1, 3]]))
        >>> edges.ends.tolist(), edges.half.tolist()
        ([[0, 1], [0, 2], [1, 2], [1, 3], [2, 3]], [[1, -1], [0, -1], [1, 2], [3, -1], [2, -1]])
    """
    return MeshEdges(*kernels("topology", faces.device).mesh_edges(faces))


@in_float32
def antialias(
    color: Float[Tensor, "B H W C"],
    fragments: Fragments,
    clip: Float[Tensor, "B V 4"],
    faces: Int[Tensor, "F 3"],
    edges: MeshEdges,
) -> Float[Tensor, "B H W C"]:
    """The image with silhouettes blended; differentiable in `color`, and in `clip` by where the silhouettes are.

    For every pixel row (column, for edges closer to it) that a silhouette edge crosses, u is where, measured in pixels. Between
    the centres P + 1/2 and P + 3/2 of neighbouring pixels, the pixel into which the edge has moved receives the difference of
    their colours times |u - P - 1|. The derivative of the image's sum in u is thus exactly the difference of the colours across
    the edge.

    Args:
        color: image of `rasterize`'s faces; any number of channels.
        fragments: what `rasterize` returned.
        clip: homogeneous OpenGL clip coordinates of the vertices, per view.
        faces: vertex indices.
        edges: `mesh_edges(faces)`.

    Returns:
        The image. Of several silhouettes between two pixels the nearest counts; what is thinner than a pixel gets none.
    """
    return blend(color, silhouettes(fragments, clip, faces, edges))


@dataclass(frozen=True)
class Blend:
    """How pixels are mixed along silhouettes: `into` receives `amount` times the colour of `below` minus that of `above`."""

    amount: Float[Tensor, "N"]
    """Differentiable in the clip coordinates."""
    into: Int[Tensor, "N"]
    below: Int[Tensor, "N"]
    above: Int[Tensor, "N"]


@in_float32
def silhouettes(fragments: Fragments, clip: Float[Tensor, "B V 4"], faces: Int[Tensor, "F 3"], edges: MeshEdges) -> Blend:
    """What `antialias` mixes; indices are those of pixels in the flat batch."""
    with torch.no_grad():
        crossings = _crossings(clip, fragments, edges, _silhouettes(clip, faces, edges))
    u = _crossed_at(clip, edges, crossings, fragments.face.shape[1:])[0]
    beyond = u - crossings.between
    return Blend(beyond, torch.where(beyond > 0, crossings.above, crossings.below), crossings.below, crossings.above)


@in_float32
def blend(color: Float[Tensor, "B H W C"], mixed: Blend) -> Float[Tensor, "B H W C"]:
    """The image with silhouettes blended; differentiable once."""
    return _Blend.apply(color, mixed.amount.to(color.dtype), mixed.into, mixed.below, mixed.above)


class _Blend(Function):
    """Linear in the colours, and in the amounts: touches the pixels along silhouettes only."""

    @staticmethod
    def forward(ctx, color, amount, into, below, above):
        flat = color.reshape(-1, color.shape[-1])
        change = flat.index_select(0, below) - flat.index_select(0, above)
        ctx.save_for_backward(amount, change, into, below, above)
        return flat.index_add(0, into, amount[:, None] * change).view(color.shape)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):
        amount, change, into, below, above = ctx.saved_tensors
        flat = gradient.reshape(-1, gradient.shape[-1])
        received = flat.index_select(0, into)
        for_amount = (received * change).sum(-1) if ctx.needs_input_grad[1] else None
        if not ctx.needs_input_grad[0]:
            return None, for_amount, None, None, None
        received = amount[:, None] * received
        for_color = flat.index_add(0, below, received).index_add_(0, above, received, alpha=-1)
        return for_color.view(gradient.shape), for_amount, None, None, None


@dataclass(frozen=True)
class _Silhouettes(TensorData):
    """Edges with all their faces on one side, as a view sees them."""

    view: Int[Tensor, "N"]
    edge: Int[Tensor, "N"]
    left: Bool[Tensor, "N"]
    """Whether the faces are to the left of the edge, looking from its first to its second end with y up."""


@dataclass(frozen=True)
class _Crossings(_Silhouettes):
    """Silhouettes where they pass between the centres of two neighbouring pixels."""

    upright: Bool[Tensor, "N"]
    """Whether the edge crosses pixel rows, so that the pixels are neighbours in a row; else they are in a column."""
    line: Int[Tensor, "N"]
    """Index of the row or column."""
    between: Int[Tensor, "N"] | None = None
    """Border of the two pixels, counted along the line."""
    below: Int[Tensor, "N"] | None = None
    """Index, in the flat batch, of the pixel with the lower coordinate."""
    above: Int[Tensor, "N"] | None = None
    """Index of the other one."""


def _silhouettes(clip: Tensor, faces: Tensor, edges: MeshEdges) -> _Silhouettes:
    """The silhouettes of every view; ends may be behind the camera."""
    return _Silhouettes(*kernels("topology", clip.device).silhouettes(clip, faces, edges.half))


def _screen_ends(clip: Tensor, edges: MeshEdges, chosen: _Silhouettes, size: Sequence[int]) -> tuple[Tensor, Tensor]:
    """Pixel coordinates and depth [N 3] of both ends, those behind the near plane moved along the edge onto it."""
    index = edges.ends.index_select(0, chosen.edge) + chosen.view[:, None] * clip.shape[1]
    a, b = (clip.reshape(-1, 4).index_select(0, end).double() for end in index.unbind(1))
    with torch.no_grad():  # where the edge is cut does not change the line that it lies on
        before_a, before_b = (end[:, 2] + end[:, 3] for end in (a, b))
        cut = (before_a / (before_a - before_b)).nan_to_num().clamp(0, 1)[:, None]
    a, b = (
        torch.where(before_a[:, None] < 0, torch.lerp(a, b, cut), a),
        torch.where(before_b[:, None] < 0, torch.lerp(a, b, cut), b),
    )
    return _to_screen(a, size), _to_screen(b, size)


def _to_screen(clip: Tensor, size: Sequence[int]) -> Tensor:
    """Pixel coordinates and depth; not finite, and never a row of the image, where w is not positive."""
    w = clip[:, 3:]
    x, y, z = (clip[:, :3] / torch.where(w > SMALLEST_W, w, torch.nan)).unbind(-1)
    return torch.stack([(x + 1) * (size[1] / 2), (1 - y) * (size[0] / 2), z], -1)


def _crossings(clip: Tensor, fragments: Fragments, edges: MeshEdges, silhouettes: _Silhouettes) -> _Crossings:
    """Where visible silhouettes pass between pixels, at most one per pair of pixels."""
    size = fragments.face.shape[1:]
    a, b = _screen_ends(clip, edges, silhouettes, size)
    extent = (b - a).abs()
    upright = extent[:, 1] >= extent[:, 0]
    ends = torch.where(upright, torch.stack([a[:, 1], b[:, 1]]), torch.stack([a[:, 0], b[:, 0]]))
    limit = torch.where(upright, size[0], size[1])
    # centres with low <= line + 1/2 < high
    first, last = ((end - 0.5).ceil().nan_to_num().clamp_min(0).minimum(limit).long() for end in (ends.amin(0), ends.amax(0)))
    count = last - first
    owner = torch.repeat_interleave(count)
    offset = torch.arange(len(owner), device=owner.device) - (count.cumsum(0) - count)[owner]
    found = _Crossings(**vars(silhouettes.select(owner)), upright=upright[owner], line=first[owner] + offset)
    u, depth, downwards = _crossed_at(clip, edges, found, size)
    return _visible(found, u, depth, downwards, fragments)


def _crossed_at(clip: Tensor, edges: MeshEdges, crossings: _Crossings, size: Sequence[int]) -> tuple[Tensor, Tensor, Tensor]:
    """Position along the line and depth of each crossing, and whether the edge runs towards higher lines."""
    a, b = _screen_ends(clip, edges, crossings, size)
    # affine on screen
    swapped = crossings.upright[:, None]
    (a_u, a_v), (b_u, b_v) = (torch.where(swapped, end[:, :2], end[:, :2].flip(1)).unbind(1) for end in (a, b))
    share = (crossings.line + 0.5 - a_v) / (b_v - a_v)
    return torch.lerp(a_u, b_u, share), torch.lerp(a[:, 2], b[:, 2], share), b_v > a_v


def _visible(found: _Crossings, u: Tensor, depth: Tensor, downwards: Tensor, fragments: Fragments) -> _Crossings:
    """The crossings between a pixel of the surface that ends there and one farther away; the nearest of each pair of pixels."""
    _, height, width = fragments.face.shape
    between = (u + 0.5).floor().long()
    step = torch.where(found.upright, 1, width)
    lowest = torch.where(found.upright, found.line * width, found.line) + found.view * (height * width)
    above = lowest + between * step
    found = replace(found, between=between, below=above - step, above=above)
    inside = ((between > 0) & (between < torch.where(found.upright, width, height))).nonzero()[:, 0]
    found, depth, downwards = found.select(inside), depth[inside], downwards[inside]
    surface_above = found.left ^ downwards ^ found.upright
    near, far = (
        fragments.depth.reshape(-1)[torch.where(surface_above == side, found.above, found.below)] for side in (True, False)
    )
    visible = ((near < far) & (depth < far)).nonzero()[:, 0]
    found, depth = found.select(visible), depth[visible]
    order = depth.argsort(stable=True)
    pair = (2 * found.above + found.upright)[order]
    pair, sorting = pair.sort(stable=True)
    nearest = torch.ones_like(pair, dtype=torch.bool)
    nearest[1:] = pair[1:] != pair[:-1]
    return found.select(order[sorting[nearest.nonzero()[:, 0]]])
