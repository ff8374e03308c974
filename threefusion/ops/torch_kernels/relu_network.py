"""ReLU networks by torch's matrix products; the reference.

On a CPU writing and reading the hidden layers takes longer than the matrix products: each chunk of points therefore passes
through all layers before the next one starts.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

CHUNK = 2048
"""Points per chunk on a CPU; other devices take all points at once."""
Parameters = Sequence[Tensor]


def forward(x: Tensor, weights: Parameters, biases: Parameters, with_gradient: bool) -> tuple[Tensor, Tensor | None]:
    """Outputs, and, if requested, the gradient of each point's first output in x."""
    out, gradient = x.new_empty(len(x), len(weights[-1])), torch.empty_like(x) if with_gradient else None
    buffers, back_buffers = _buffers(x, weights), _buffers(x, weights) if with_gradient else []
    first_output = _first_output(x, weights)
    for chunk in _chunks(x):
        hidden = _hidden(x[chunk], weights, biases, buffers)
        torch.addmm(biases[-1], hidden[-1], weights[-1].t(), out=out[chunk])
        if with_gradient:
            *_, (_, delta) = _back(first_output[: len(hidden[0])], weights, hidden, back_buffers)
            torch.mm(delta, weights[0], out=gradient[chunk])
    return out, gradient


def backward(
    x: Tensor, weights: Parameters, biases: Parameters, for_out: Tensor | None, for_gradient: Tensor | None, needs_x: bool
) -> tuple[Tensor | None, list[Tensor], list[Tensor]]:
    """Gradients with respect to x, the weights and the biases, from those of the outputs and of the input gradient."""
    for_x = torch.empty_like(x) if needs_x and for_out is not None else None
    for_weights, for_biases = ([torch.zeros_like(value) for value in values] for values in (weights, biases))
    buffers, back_buffers, tangent_buffers = (_buffers(x, weights) for _ in range(3))
    ones, first_output = x.new_ones(_rows(x)), _first_output(x, weights)
    for chunk in _chunks(x):
        count = chunk.stop - chunk.start
        # recomputing the hidden layers is faster than reading them from memory
        hidden = _hidden(x[chunk], weights, biases, buffers)
        if for_out is not None:
            for layer, delta in _back(for_out[chunk], weights, hidden, back_buffers):
                for_weights[layer].addmm_(delta.t(), hidden[layer])
                for_biases[layer].addmv_(delta.t(), ones[:count])
            if for_x is not None:
                torch.mm(delta, weights[0], out=for_x[chunk])
        if for_gradient is not None:
            # <g, gradient> is the directional derivative of the first output along g: a forward-mode pass
            tangents = _jvp(for_gradient[chunk], weights, hidden, tangent_buffers)
            for layer, delta in _back(first_output[:count], weights, hidden, back_buffers):
                for_weights[layer].addmm_(delta.t(), tangents[layer])
    return for_x, for_weights, for_biases


def _hidden(x: Tensor, weights: Parameters, biases: Parameters, buffers: list[Tensor]) -> list[Tensor]:
    """Input of each layer."""
    inputs = [x]
    for weight, bias, out in zip(weights, biases, buffers, strict=False):
        inputs.append(torch.addmm(bias, inputs[-1], weight.t(), out=out[: len(x)]).relu_())
    return inputs


def _back(delta: Tensor, weights: Parameters, hidden: Sequence[Tensor], buffers: list[Tensor]) -> Iterator[tuple[int, Tensor]]:
    """Pairs (layer, gradient with respect to its pre-activation), from the last layer, where it is `delta`, to the first."""
    for layer in reversed(range(len(weights))):
        yield layer, delta
        if layer:
            out = torch.mm(delta, weights[layer], out=buffers[layer - 1][: len(delta)])
            delta = _relu_mask(out, hidden[layer])


def _jvp(tangent: Tensor, weights: Parameters, hidden: Sequence[Tensor], buffers: list[Tensor]) -> list[Tensor]:
    """Directional derivative of each layer's input along a tangent of x."""
    tangents = [tangent]
    for weight, values, out in zip(weights, hidden[1:], buffers, strict=False):
        tangents.append(_relu_mask(torch.mm(tangents[-1], weight.t(), out=out[: len(tangent)]), values))
    return tangents


def _relu_mask(values: Tensor, hidden: Tensor) -> Tensor:
    """`values`, in place set to 0 where the ReLU output `hidden` is 0."""
    return torch.ops.aten.threshold_backward.grad_input(values, hidden, 0, grad_input=values)


def _rows(x: Tensor) -> int:
    # independent of the number of points, so that the memory of a step does not depend on it
    return CHUNK if x.device.type == "cpu" else max(len(x), 1)


def _buffers(x: Tensor, weights: Parameters) -> list[Tensor]:
    """Memory for the hidden layers of a chunk."""
    return [x.new_empty(_rows(x), len(weight)) for weight in weights[:-1]]


def _first_output(x: Tensor, weights: Parameters) -> Tensor:
    """Gradient of the first output with respect to all outputs: e_1 for every point of a chunk."""
    row = x.new_zeros(len(weights[-1]))
    row[:1] = 1  # a network may have no outputs
    return row.expand(_rows(x), -1)


def _chunks(x: Tensor) -> list[slice]:
    starts = range(0, len(x), _rows(x))
    return [slice(start, min(start + _rows(x), len(x))) for start in starts]
