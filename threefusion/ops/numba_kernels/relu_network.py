"""ReLU networks on CPUs, in tiles of 4 x 4 weights.

Arrays are feature-major, so that the inner loops run over points and vectorise. A block of points passes through all layers while
it is in the cache. Gradients are added up in a fixed number of groups of points: sums do not depend on the number of threads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, no_type_check

import numpy as np
import torch
from torch import Tensor

from threefusion.ops.numba_kernels.compile import array, compiled, contracted
from threefusion.ops.parallel import run

BLOCK, GROUPS, TILE = 512, 16, 4
"""Points per block, groups of points with sums of their own, rows and columns of a tile."""
NONE, RELU, MASK = 0, 1, 2
"""Activations of a product."""


class Network(NamedTuple):
    """All parameters in one array; each matrix has zeros round it that fill up its tiles."""

    parameters: np.ndarray
    layers: np.ndarray
    """One row per layer: where its weights begin, outputs and inputs in whole tiles, and outputs of all layers before it."""


def forward(x: Tensor, weights: Sequence[Tensor], biases: Sequence[Tensor], with_gradient: bool) -> tuple[Tensor, Tensor | None]:
    """Outputs, and, if requested, the gradient of each point's first output in x."""
    network, out = _packed(weights, biases), x.new_empty(len(weights[-1]), len(x))
    gradient = x.new_empty(_padded(x.shape[1]) if with_gradient else 0, len(x))
    run(_forward, network, array(x.t()), array(out), array(gradient))
    return out.t(), gradient[: x.shape[1]].t() if with_gradient else None


def backward(
    x: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    for_out: Tensor | None,
    for_gradient: Tensor | None,
    needs_x: bool,
) -> tuple[Tensor | None, list[Tensor], list[Tensor]]:
    """Gradients with respect to x, the weights and the biases, from those of the outputs and of the input gradient."""
    network, needs_x = _packed(weights, biases), needs_x and for_out is not None
    for_x = x.new_empty(_padded(x.shape[1]) if needs_x else 0, len(x))
    sums = np.zeros((GROUPS, len(network.parameters)), network.parameters.dtype)
    given = [x.new_empty(0, len(x)) if value is None else value.t() for value in (for_out, for_gradient)]
    run(_backward, network, array(x.t()), *map(array, given), array(for_x), sums)
    for_weights, for_biases = [], []
    for (matrix, vector), weight in zip(_views(sums.sum(0), network.layers), weights, strict=True):
        for_weights.append(torch.from_numpy(matrix[: weight.shape[0], : weight.shape[1]].copy()))
        for_biases.append(torch.from_numpy(vector[: len(weight)]))
    return for_x[: x.shape[1]].t() if needs_x else None, for_weights, for_biases


def _padded(width: int) -> int:
    return -(-width // TILE) * TILE


def _packed(weights: Sequence[Tensor], biases: Sequence[Tensor]) -> Network:
    """The network for the kernels."""
    layers, begin, outputs = np.empty((len(weights), 4), np.int64), 0, 0
    for row, weight in zip(layers, weights, strict=True):
        row[:] = begin, _padded(weight.shape[0]), _padded(weight.shape[1]), outputs
        begin, outputs = begin + row[1] * (row[2] + 1), outputs + row[1]
    parameters = np.zeros(begin, array(weights[0]).dtype)
    for (matrix, vector), weight, bias in zip(_views(parameters, layers), weights, biases, strict=True):
        matrix[: weight.shape[0], : weight.shape[1]], vector[: len(bias)] = array(weight), array(bias)
    return Network(parameters, layers)


def _views(parameters: np.ndarray, layers: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    return [_layer(parameters, row) for row in layers]


@compiled
@no_type_check
def _layer(parameters, row):
    """Weights and biases of one layer."""
    begin, outputs, inputs = row[0], row[1], row[2]
    end = begin + outputs * inputs
    return parameters[begin:end].reshape((outputs, inputs)), parameters[end : end + outputs]


@compiled
@no_type_check
def _rows(values, row):
    """The part of the scratch memory of all layers that belongs to one."""
    return values[row[3] : row[3] + row[1]]


@compiled
@no_type_check
def _scratch(network):
    last = network.layers[len(network.layers) - 1]
    return np.zeros((last[3] + last[1], BLOCK), network.parameters.dtype)


@contracted
@no_type_check
def _product(weights, biases, source, target, count, activation, hidden):
    """activation(weights x + biases) of `count` columns of an array, to as many columns of another.

    `source` and `target` are pairs of an array and its first column. No biases are biases of 0, and rows that the source lacks
    meet weights of 0.
    """
    (x, first), (out, begin) = source, target
    last = len(x) - 1
    for o in range(0, weights.shape[0], 4):
        y0, y1 = out[o][begin : begin + count], out[o + 1][begin : begin + count]
        y2, y3 = out[o + 2][begin : begin + count], out[o + 3][begin : begin + count]
        for k in range(4):
            out[o + k][begin : begin + count] = biases[o + k] if len(biases) else 0
        for c in range(0, weights.shape[1], 4):
            x0, x1 = x[c][first : first + count], x[min(c + 1, last)][first : first + count]
            x2, x3 = x[min(c + 2, last)][first : first + count], x[min(c + 3, last)][first : first + count]
            w00, w01, w02, w03 = weights[o, c], weights[o, c + 1], weights[o, c + 2], weights[o, c + 3]
            w10, w11, w12, w13 = weights[o + 1, c], weights[o + 1, c + 1], weights[o + 1, c + 2], weights[o + 1, c + 3]
            w20, w21, w22, w23 = weights[o + 2, c], weights[o + 2, c + 1], weights[o + 2, c + 2], weights[o + 2, c + 3]
            w30, w31, w32, w33 = weights[o + 3, c], weights[o + 3, c + 1], weights[o + 3, c + 2], weights[o + 3, c + 3]
            for j in range(count):
                a, b, d, e = x0[j], x1[j], x2[j], x3[j]
                y0[j] += w00 * a + w01 * b + w02 * d + w03 * e
                y1[j] += w10 * a + w11 * b + w12 * d + w13 * e
                y2[j] += w20 * a + w21 * b + w22 * d + w23 * e
                y3[j] += w30 * a + w31 * b + w32 * d + w33 * e
        # these rows are still in the cache
        for k in range(4):
            _activate(out[o + k][begin : begin + count], activation, hidden[o + k if activation == MASK else 0])


@compiled
@no_type_check
def _activate(values, activation, hidden):
    """Set values to 0 that are negative, or whose hidden unit is 0; NaN stays."""
    if activation == RELU:
        for j in range(len(values)):
            values[j] = 0 if values[j] <= 0 else values[j]
    elif activation == MASK:
        for j in range(len(values)):
            values[j] = 0 if hidden[j] <= 0 else values[j]


@contracted
@no_type_check
def _add_outer(y, x, first, count, out):
    """out += sum over j < count of y[:, j] x[:, first + j]'. Columns for rows that x lacks are meaningless."""
    last, zero = len(x) - 1, out.dtype.type(0)
    for o in range(0, out.shape[0], 4):
        y0, y1, y2, y3 = y[o][:count], y[o + 1][:count], y[o + 2][:count], y[o + 3][:count]
        for c in range(0, out.shape[1], 4):
            x0, x1 = x[c][first : first + count], x[min(c + 1, last)][first : first + count]
            x2, x3 = x[min(c + 2, last)][first : first + count], x[min(c + 3, last)][first : first + count]
            s00 = s01 = s02 = s03 = s10 = s11 = s12 = s13 = zero
            s20 = s21 = s22 = s23 = s30 = s31 = s32 = s33 = zero
            for j in range(count):
                a, b, d, e = x0[j], x1[j], x2[j], x3[j]
                s00, s01, s02, s03 = s00 + y0[j] * a, s01 + y0[j] * b, s02 + y0[j] * d, s03 + y0[j] * e
                s10, s11, s12, s13 = s10 + y1[j] * a, s11 + y1[j] * b, s12 + y1[j] * d, s13 + y1[j] * e
                s20, s21, s22, s23 = s20 + y2[j] * a, s21 + y2[j] * b, s22 + y2[j] * d, s23 + y2[j] * e
                s30, s31, s32, s33 = s30 + y3[j] * a, s31 + y3[j] * b, s32 + y3[j] * d, s33 + y3[j] * e
            tile = ((s00, s01, s02, s03), (s10, s11, s12, s13), (s20, s21, s22, s23), (s30, s31, s32, s33))
            for row in range(4):
                for column in range(4):
                    out[o + row, c + column] += tile[row][column]


@compiled
@no_type_check
def _hidden(network, x, first, count, values):
    """Outputs of every layer for points first, ..., first + count - 1."""
    last = len(network.layers) - 1
    for index in range(last + 1):
        row = network.layers[index]
        weights, biases = _layer(network.parameters, row)
        out, activation = _rows(values, row), RELU if index < last else NONE
        if index == 0:
            _product(weights, biases, (x, first), (out, 0), count, activation, out)
        else:
            _product(weights, biases, (_rows(values, network.layers[index - 1]), 0), (out, 0), count, activation, out)


@compiled
@no_type_check
def _tangents(network, tangent, first, count, values, out):
    """Directional derivatives of every hidden layer along a tangent of x."""
    for index in range(len(network.layers) - 1):
        row = network.layers[index]
        weights, biases = _layer(network.parameters, row)
        rows, hidden = _rows(out, row), _rows(values, row)
        if index == 0:
            _product(weights, biases[:0], (tangent, first), (rows, 0), count, MASK, hidden)
        else:
            _product(weights, biases[:0], (_rows(out, network.layers[index - 1]), 0), (rows, 0), count, MASK, hidden)


@compiled
@no_type_check
def _deltas(network, values, count, deltas):
    """Gradients with respect to the pre-activations of every layer, from those of the last."""
    for index in range(len(network.layers) - 1, 0, -1):
        row, before = network.layers[index], network.layers[index - 1]
        weights, biases = _layer(network.parameters, row)
        out, hidden = _rows(deltas, before), _rows(values, before)
        _product(weights.T, biases[:0], (_rows(deltas, row), 0), (out, 0), count, MASK, hidden)


@compiled
@no_type_check
def _pull(network, deltas, count, out, begin):
    """Gradients with respect to the inputs of the first layer, to columns begin, ..., begin + count - 1 of out."""
    row = network.layers[0]
    weights, biases = _layer(network.parameters, row)
    _product(weights.T, biases[:0], (_rows(deltas, row), 0), (out, begin), count, NONE, deltas)


@compiled
@no_type_check
def _first_output(network, values, count, deltas):
    """`_deltas` of the first output of each point."""
    rows = _rows(deltas, network.layers[len(network.layers) - 1])
    rows[:, :count] = 0
    if len(rows):
        rows[0, :count] = 1
    _deltas(network, values, count, deltas)


@compiled
@no_type_check
def _add_gradients(network, x, first, count, values, deltas, sums):
    """Add the gradients of all weights; layers have the inputs x, and `values` of the layer before."""
    for index in range(len(network.layers)):
        row = network.layers[index]
        out, delta = _layer(sums, row)[0], _rows(deltas, row)
        if index == 0:
            _add_outer(delta, x, first, count, out)
        else:
            _add_outer(delta, _rows(values, network.layers[index - 1]), 0, count, out)


@contracted
@no_type_check
def _add_biases(network, deltas, count, sums):
    for index in range(len(network.layers)):
        row = network.layers[index]
        out, delta = _layer(sums, row)[1], _rows(deltas, row)
        for o in range(len(out)):
            unit, total = delta[o][:count], sums.dtype.type(0)
            for j in range(count):
                total += unit[j]
            out[o] += total


@compiled
@no_type_check
def _forward(part, parts, network, x, out, gradient):
    """Points are split between threads."""
    values, deltas, total = _scratch(network), _scratch(network), x.shape[1]
    last = network.layers[len(network.layers) - 1]
    begin, end = total * part // parts, total * (part + 1) // parts
    for first in range(begin, end, BLOCK):
        count = min(BLOCK, end - first)
        _hidden(network, x, first, count, values)
        out[:, first : first + count] = _rows(values, last)[: len(out), :count]
        if len(gradient):
            _first_output(network, values, count, deltas)
            _pull(network, deltas, count, gradient, first)


@compiled
@no_type_check
def _backward(part, parts, network, x, for_out, for_gradient, for_x, sums):
    """Groups of points are split between threads."""
    values, deltas, tangents = _scratch(network), _scratch(network), _scratch(network)
    last, total = _rows(deltas, network.layers[len(network.layers) - 1]), x.shape[1]
    for group in range(part, len(sums), parts):
        end = total * (group + 1) // len(sums)
        for first in range(total * group // len(sums), end, BLOCK):
            count = min(BLOCK, end - first)
            _hidden(network, x, first, count, values)
            if len(for_out):
                last[:] = 0
                last[: len(for_out), :count] = for_out[:, first : first + count]
                _deltas(network, values, count, deltas)
                _add_gradients(network, x, first, count, values, deltas, sums[group])
                _add_biases(network, deltas, count, sums[group])
                if len(for_x):
                    _pull(network, deltas, count, for_x, first)
            if len(for_gradient):
                _tangents(network, for_gradient, first, count, values, tangents)
                _first_output(network, values, count, deltas)
                _add_gradients(network, for_gradient, first, count, tangents, deltas, sums[group])
