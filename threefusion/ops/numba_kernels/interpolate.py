"""Interpolation of vertex attributes on CPUs.

Threads take disjoint pixels, and in `scatter` disjoint vertices: each vertex adds up its pixels in the order of the image, in
float64, so that sums do not depend on the number of threads.
"""

from __future__ import annotations

from typing import no_type_check

import torch
from jaxtyping import Float, Int
from torch import Tensor

from threefusion.ops.numba_kernels.compile import array, check_indices, compiled
from threefusion.ops.parallel import run

Faces = Int[Tensor, "F 3"]
Ids = Int[Tensor, "B H W"]
Weights = Float[Tensor, "B H W 3"]


def gather(attributes: Float[Tensor, "V C"], faces: Faces, face: Ids, weights: Weights) -> Float[Tensor, "B H W C"]:
    """out[pixel] = sum over corners k of weight_k attributes[vertex_k]."""
    check_indices(faces, len(attributes))
    check_indices(face, len(faces), -1)
    out = attributes.new_zeros(*face.shape, attributes.shape[1])
    arrays = (array(attributes), array(faces), array(face.flatten()), array(weights).reshape(-1, 3))
    run(_gather, *arrays, array(out).reshape(-1, attributes.shape[1]))
    return out


def scatter(
    gradient: Float[Tensor, "B H W C"], faces: Faces, face: Ids, weights: Weights, vertices: int
) -> Float[Tensor, "{vertices} C"]:
    """out[vertex_k] = sum over pixels of weight_k gradient[pixel]."""
    out = gradient.new_zeros(vertices, gradient.shape[-1], dtype=torch.float64)
    arrays = (array(gradient.flatten(0, 2)), array(faces), array(face.flatten()), array(weights).reshape(-1, 3))
    run(_scatter, *arrays, array(out))
    return out.to(gradient.dtype)


def dot(gradient: Float[Tensor, "B H W C"], attributes: Float[Tensor, "V C"], faces: Faces, face: Ids) -> Weights:
    """out[pixel, k] = attributes[vertex_k] . gradient[pixel]."""
    out = gradient.new_zeros(*face.shape, 3)
    run(_dot, array(gradient.flatten(0, 2)), array(attributes), array(faces), array(face.flatten()), array(out).reshape(-1, 3))
    return out


@compiled
@no_type_check
def _gather(part, parts, attributes, faces, face, weights, out):
    for pixel in range(len(face) * part // parts, len(face) * (part + 1) // parts):
        if face[pixel] >= 0:
            i, j, k = faces[face[pixel]]
            u, v, w = weights[pixel]
            for channel in range(attributes.shape[1]):
                out[pixel, channel] = u * attributes[i, channel] + v * attributes[j, channel] + w * attributes[k, channel]


@compiled
@no_type_check
def _scatter(part, parts, gradient, faces, face, weights, out):
    """Threads take disjoint ranges of vertices."""
    low, high = len(out) * part // parts, len(out) * (part + 1) // parts
    for pixel in range(len(face)):
        if face[pixel] >= 0:
            for corner in range(3):
                vertex = faces[face[pixel], corner]
                if low <= vertex < high:
                    for channel in range(out.shape[1]):
                        out[vertex, channel] += weights[pixel, corner] * gradient[pixel, channel]


@compiled
@no_type_check
def _dot(part, parts, gradient, attributes, faces, face, out):
    for pixel in range(len(face) * part // parts, len(face) * (part + 1) // parts):
        if face[pixel] >= 0:
            for corner in range(3):
                vertex = faces[face[pixel], corner]
                total = attributes[vertex, 0] * 0
                for channel in range(attributes.shape[1]):
                    total += attributes[vertex, channel] * gradient[pixel, channel]
                out[pixel, corner] = total
