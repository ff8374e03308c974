"""ReLU MLP and the input gradient of its first output, evaluated in cache-sized chunks.

A thin MLP is bound by memory bandwidth on a CPU: writing and reading the hidden layers takes longer than the matrix products.
Each chunk of points therefore passes through all layers before the next one starts. All gradients, also those of the input
gradient, are in closed form; no double backward is needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from threefusion.ops.precision import in_float32

CHUNK = 2048
"""Points per chunk on a CPU; other devices take all points at once."""


def relu_network(
    x: Float[Tensor, "N C"], weights: Sequence[Float[Tensor, "_ _"]], biases: Sequence[Float[Tensor, "_"]]
) -> Float[Tensor, "N D"]:
    """ReLU MLP: W_L relu(... relu(W_1 x + b_1) ...) + b_L. Differentiable once.

    Args:
        x: inputs.
        weights: one matrix [outputs, inputs] per layer.
        biases: one vector per layer.

    Example:
        >>> x = torch.tensor([[2.0], [-2.0]])
        >>> relu_network(x, [torch.eye(1), torch.eye(1)], [torch.zeros(1), torch.ones(1)]).tolist()
        [[3.0], [1.0]]
    """
    return _ReluNetwork.apply(x, False, *weights, *biases)[0]


def relu_network_with_gradient(
    x: Float[Tensor, "N C"], weights: Sequence[Float[Tensor, "_ _"]], biases: Sequence[Float[Tensor, "_"]]
) -> tuple[Float[Tensor, "N D"], Float[Tensor, "N C"]]:
    """`relu_network`, and the gradient of each point's first output with respect to x: e_1 W_L M_(L-1) ... M_1 W_1.

    M_l is diagonal, 1 where hidden layer l is positive. Differentiable once; the gradient only in the weights, because it is
    piecewise constant in x.

    Args:
        x: inputs.
        weights: one matrix [outputs, inputs] per layer.
        biases: one vector per layer.

    Returns:
        Outputs, and the gradient of the first output.

    Example:
        >>> x = torch.tensor([[2.0], [-2.0]])
        >>> out, gradient = relu_network_with_gradient(x, [torch.eye(1), torch.eye(1)], [torch.zeros(1), torch.ones(1)])
        >>> gradient.tolist()
        [[1.0], [0.0]]
    """
    return _ReluNetwork.apply(x, True, *weights, *biases)


class _ReluNetwork(Function):
    @staticmethod
    @in_float32
    def forward(ctx, x, with_gradient, *parameters):
        weights, biases = parameters[: len(parameters) // 2], parameters[len(parameters) // 2 :]
        out, gradient = x.new_empty(len(x), len(weights[-1])), torch.empty_like(x) if with_gradient else None
        buffers, back_buffers = _buffers(x, weights), _buffers(x, weights) if with_gradient else []
        first_output = _first_output(x, weights)
        for chunk in _chunks(x):
            hidden = _forward(x[chunk], weights, biases, buffers)
            torch.addmm(biases[-1], hidden[-1], weights[-1].t(), out=out[chunk])
            if with_gradient:
                *_, (_, delta) = _back(first_output[: len(hidden[0])], weights, hidden, back_buffers)
                torch.mm(delta, weights[0], out=gradient[chunk])
        ctx.save_for_backward(x, *parameters)
        ctx.set_materialize_grads(False)
        return out, gradient

    @staticmethod
    @once_differentiable
    def backward(ctx, for_out, for_gradient):
        x, *parameters = ctx.saved_tensors
        weights, biases = parameters[: len(parameters) // 2], parameters[len(parameters) // 2 :]
        for_x = torch.empty_like(x) if ctx.needs_input_grad[0] and for_out is not None else None
        for_weights, for_biases = ([torch.zeros_like(value) for value in values] for values in (weights, biases))
        buffers, back_buffers, tangent_buffers = (_buffers(x, weights) for _ in range(3))
        ones, first_output = x.new_ones(_rows(x)), _first_output(x, weights)
        for chunk in _chunks(x):
            count = chunk.stop - chunk.start
            # recomputing the hidden layers is faster than reading them from memory
            hidden = _forward(x[chunk], weights, biases, buffers)
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
        return for_x, None, *for_weights, *for_biases


def _forward(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], buffers: list[Tensor]) -> list[Tensor]:
    """Input of each layer."""
    inputs = [x]
    for weight, bias, out in zip(weights, biases, buffers, strict=False):
        inputs.append(torch.addmm(bias, inputs[-1], weight.t(), out=out[: len(x)]).relu_())
    return inputs


def _back(
    delta: Tensor, weights: Sequence[Tensor], hidden: Sequence[Tensor], buffers: list[Tensor]
) -> Iterator[tuple[int, Tensor]]:
    """Pairs (layer, gradient with respect to its pre-activation), from the last layer, where it is `delta`, to the first."""
    for layer in reversed(range(len(weights))):
        yield layer, delta
        if layer:
            out = torch.mm(delta, weights[layer], out=buffers[layer - 1][: len(delta)])
            delta = _relu_mask(out, hidden[layer])


def _jvp(tangent: Tensor, weights: Sequence[Tensor], hidden: Sequence[Tensor], buffers: list[Tensor]) -> list[Tensor]:
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


def _buffers(x: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
    """Memory for the hidden layers of a chunk."""
    return [x.new_empty(_rows(x), len(weight)) for weight in weights[:-1]]


def _first_output(x: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """Gradient of the first output with respect to all outputs: e_1 for every point of a chunk."""
    row = x.new_zeros(len(weights[-1]))
    row[:1] = 1  # a network may have no outputs
    return row.expand(_rows(x), -1)


def _chunks(x: Tensor) -> list[slice]:
    starts = range(0, len(x), _rows(x))
    return [slice(start, min(start + _rows(x), len(x))) for start in starts]
