"""Topology of surfaces in torch."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from threefusion.machine.tensors import send
from threefusion.ops.marching_tetrahedra import COUNT, EDGES, TRIANGLES

Pairs = Int[Tensor, "E 2"]
Faces = Int[Tensor, "F 3"]


def crossed_edges(inside: Bool[Tensor, "V"], tets: Int[Tensor, "T 4"]) -> tuple[Pairs, Faces]:
    """The edges with one end inside, each once and in order, and the triangles between them."""
    corners = inside.to(torch.uint8).index_select(0, tets.reshape(-1)).view(-1, 4)
    case = corners[:, 0] + 2 * corners[:, 1] + 4 * corners[:, 2] + 8 * corners[:, 3]
    active = ((case > 0) & (case < 15)).nonzero()[:, 0]
    case, ends = case[active].long(), tets[active].long()
    table, count = send(TRIANGLES, inside.device)[case], send(COUNT, inside.device)[case]
    used = torch.cat([table[:, 0], table[count == 2, 1]])
    owner = torch.cat([ends, ends[count == 2]])
    first, second = (owner.gather(1, send(side, inside.device)[used]) for side in torch.tensor(EDGES).unbind(1))
    keys = torch.minimum(first, second) << 32 | torch.maximum(first, second)
    unique, faces = torch.unique(keys, return_inverse=True)
    return torch.stack([unique >> 32, unique & 0xFFFFFFFF], -1), faces


def mesh_edges(faces: Faces) -> tuple[Pairs, Pairs]:
    """Ends and faces of the edges, as `MeshEdges` has them."""
    start, end = faces.long(), faces.long().roll(-1, 1)
    along = start < end
    keys = torch.where(along, start, end) << 32 | torch.where(along, end, start)
    half = 2 * torch.arange(len(faces), device=faces.device)[:, None] + along
    keys, order = keys.reshape(-1).sort(stable=True)
    half = half.reshape(-1)[order]
    first = torch.ones_like(keys, dtype=torch.bool)
    first[1:] = keys[1:] != keys[:-1]
    index = torch.arange(len(keys), device=keys.device)
    # position among the faces of the same edge: those at even positions open a pair
    rank = index - torch.where(first, index, 0).cummax(0).values
    opens = (rank % 2 == 0).nonzero()[:, 0]
    partner = (opens + 1).clamp_max(max(len(keys) - 1, 0))
    paired = keys[partner].eq(keys[opens]) & (partner > opens)
    ends = torch.stack([keys[opens] >> 32, keys[opens] & 0xFFFFFFFF], -1)
    return ends, torch.stack([half[opens], torch.where(paired, half[partner], -1)], -1)


def silhouettes(clip: Float[Tensor, "B V 4"], faces: Faces, half: Pairs) -> tuple[Tensor, Tensor, Tensor]:
    """View and edge of the edges with all their faces on one side, and whether that is the left."""
    a, b, c = (clip[:, :, [0, 1, 3]].double().index_select(1, corner) for corner in faces.unbind(1))
    # the sign of this determinant is that of the area where w is positive, and right for the visible part of faces that reach
    # behind the camera
    towards = (torch.linalg.cross(a, b) * c).sum(-1) > 0
    left = torch.stack([towards.index_select(1, side.clamp_min(0) >> 1) == (side & 1).bool() for side in half.unbind(1)])
    view, edge = ((left[0] == left[1]) | (half[:, 1] < 0)).nonzero(as_tuple=True)
    return view, edge, left[0, view, edge]
