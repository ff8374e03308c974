"""Interpolation of vertex attributes in torch."""

from __future__ import annotations

from jaxtyping import Float, Int
from torch import Tensor

Faces = Int[Tensor, "F 3"]
Ids = Int[Tensor, "B H W"]
Weights = Float[Tensor, "B H W 3"]


def gather(attributes: Float[Tensor, "V C"], faces: Faces, face: Ids, weights: Weights) -> Float[Tensor, "B H W C"]:
    """out[pixel] = sum over corners k of weight_k attributes[vertex_k]."""
    seen = face >= 0
    out = attributes.new_zeros(*face.shape, attributes.shape[1])
    out[seen] = (weights[seen][..., None] * attributes[faces[face[seen]]]).sum(-2)
    return out


def scatter(
    gradient: Float[Tensor, "B H W C"], faces: Faces, face: Ids, weights: Weights, vertices: int
) -> Float[Tensor, "{vertices} C"]:
    """out[vertex_k] = sum over pixels of weight_k gradient[pixel]."""
    seen = face >= 0
    of_corners = weights[seen][..., None] * gradient[seen][:, None]
    return gradient.new_zeros(vertices, gradient.shape[-1]).index_add(0, faces[face[seen]].flatten(), of_corners.flatten(0, 1))


def dot(gradient: Float[Tensor, "B H W C"], attributes: Float[Tensor, "V C"], faces: Faces, face: Ids) -> Weights:
    """out[pixel, k] = attributes[vertex_k] . gradient[pixel]."""
    seen = face >= 0
    out = gradient.new_zeros(*face.shape, 3)
    out[seen] = (attributes[faces[face[seen]]] * gradient[seen][:, None]).sum(-1)
    return out
