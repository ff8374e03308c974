"""Linear maps with ReLU between them, and the slope of their first output, in pieces that stay in a core's cache.

Such a network is thin: on a processor it waits for memory, where its hidden layers go and come from, longer than it multiplies.
So few points at a time pass through all layers, and back. Gradients are in closed form, the slope's too: nothing is
differentiated twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

PIECE = 2048
"""Points that pass through all layers at once on a processor; elsewhere all do."""


def relu_network(
    x: Float[Tensor, "N C"], weights: Sequence[Float[Tensor, "_ _"]], biases: Sequence[Float[Tensor, "_"]]
) -> Float[Tensor, "N D"]:
    """W_L relu(... relu(W_1 x + b_1) ...) + b_L. Differentiable once."""
    return _ReluNetwork.apply(x, False, *weights, *biases)[0]


def relu_network_with_slope(
    x: Float[Tensor, "N C"], weights: Sequence[Float[Tensor, "_ _"]], biases: Sequence[Float[Tensor, "_"]]
) -> tuple[Float[Tensor, "N D"], Float[Tensor, "N C"]]:
    """The same, and the gradient of every point's first output in x: e_1 W_L M_(L-1) ... M_1 W_1.

    M_l is diagonal, 1 where hidden layer l is positive. Differentiable once; the slope in the weights alone, because in x it is
    constant almost everywhere.
    """
    return _ReluNetwork.apply(x, True, *weights, *biases)


class _ReluNetwork(Function):
    @staticmethod
    def forward(ctx, x, with_slope, *parameters):
        weights, biases = parameters[: len(parameters) // 2], parameters[len(parameters) // 2 :]
        out, slope = x.new_empty(len(x), len(weights[-1])), torch.empty_like(x) if with_slope else None
        room, back_room, first_output = _room(x, weights), _room(x, weights) if with_slope else [], _first_output(x, weights)
        for piece in _pieces(x):
            hidden = _forward(x[piece], weights, biases, room)
            torch.addmm(biases[-1], hidden[-1], weights[-1].t(), out=out[piece])
            if with_slope:
                *_, (_, delta) = _back(first_output[: len(hidden[0])], weights, hidden, back_room)
                torch.mm(delta, weights[0], out=slope[piece])
        ctx.save_for_backward(x, *parameters)
        ctx.set_materialize_grads(False)
        return out, slope

    @staticmethod
    @once_differentiable
    def backward(ctx, for_out, for_slope):
        x, *parameters = ctx.saved_tensors
        weights, biases = parameters[: len(parameters) // 2], parameters[len(parameters) // 2 :]
        for_x = torch.empty_like(x) if ctx.needs_input_grad[0] and for_out is not None else None
        for_weights, for_biases = ([torch.zeros_like(value) for value in values] for values in (weights, biases))
        room, back_room, along_room = (_room(x, weights) for _ in range(3))
        ones, first_output = x.new_ones(_rows(x)), _first_output(x, weights)
        for piece in _pieces(x):
            count = piece.stop - piece.start
            # to compute the hidden layers again takes less time than to bring them from memory
            hidden = _forward(x[piece], weights, biases, room)
            if for_out is not None:
                for layer, delta in _back(for_out[piece], weights, hidden, back_room):
                    for_weights[layer].addmm_(delta.t(), hidden[layer])
                    for_biases[layer].addmv_(delta.t(), ones[:count])
                if for_x is not None:
                    torch.mm(delta, weights[0], out=for_x[piece])
            if for_slope is not None:
                # <g, slope> is the derivative of the first output along g, which passes through the layers like x
                along = _along(for_slope[piece], weights, hidden, along_room)
                for layer, delta in _back(first_output[:count], weights, hidden, back_room):
                    for_weights[layer].addmm_(delta.t(), along[layer])
        return for_x, None, *for_weights, *for_biases


def _forward(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], room: list[Tensor]) -> list[Tensor]:
    """What goes into each layer."""
    found = [x]
    for weight, bias, into in zip(weights, biases, room, strict=False):
        found.append(torch.addmm(bias, found[-1], weight.t(), out=into[: len(x)]).relu_())
    return found


def _back(delta: Tensor, weights: Sequence[Tensor], hidden: Sequence[Tensor], room: list[Tensor]) -> Iterator[tuple[int, Tensor]]:
    """(layer, gradient in what it gives before its ReLU), from the last layer, whose is given, to the first."""
    for layer in reversed(range(len(weights))):
        yield layer, delta
        if layer:
            into = torch.mm(delta, weights[layer], out=room[layer - 1][: len(delta)])
            delta = _where_positive(into, hidden[layer])


def _along(tangent: Tensor, weights: Sequence[Tensor], hidden: Sequence[Tensor], room: list[Tensor]) -> list[Tensor]:
    """The derivatives, along a tangent of x, of what goes into each layer."""
    found = [tangent]
    for weight, values, into in zip(weights, hidden[1:], room, strict=False):
        found.append(_where_positive(torch.mm(found[-1], weight.t(), out=into[: len(tangent)]), values))
    return found


def _where_positive(into: Tensor, hidden: Tensor) -> Tensor:
    """`into` with 0 where what went into the layer above is 0."""
    return torch.ops.aten.threshold_backward.grad_input(into, hidden, 0, grad_input=into)


def _rows(x: Tensor) -> int:
    # the same for few points, so that a small step takes what a large one does (`plan` tells large steps by small ones)
    return PIECE if x.device.type == "cpu" else max(len(x), 1)


def _room(x: Tensor, weights: Sequence[Tensor]) -> list[Tensor]:
    """Where a piece's hidden layers can be written."""
    return [x.new_empty(_rows(x), len(weight)) for weight in weights[:-1]]


def _first_output(x: Tensor, weights: Sequence[Tensor]) -> Tensor:
    """The gradient of the first output in all outputs, for every point of a piece."""
    row = x.new_zeros(len(weights[-1]))
    row[0] = 1
    return row.expand(_rows(x), -1)


def _pieces(x: Tensor) -> list[slice]:
    starts = range(0, len(x), _rows(x))
    return [slice(start, min(start + _rows(x), len(x))) for start in starts]
