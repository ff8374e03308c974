"""ReLU MLP and the input gradient of its first output, evaluated in cache-sized chunks.

A thin MLP is bound by memory bandwidth on a CPU: writing and reading the hidden layers takes longer than the matrix products.
Each chunk of points therefore passes through all layers before the next one starts. All gradients, also those of the input
gradient, are in closed form; no double backward is needed.
"""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

from threefusion.ops.backend import kernels
from threefusion.ops.precision import in_float32


def relu_network(
    x: Float[Tensor, "N C"], weights: Sequence[Float[Tensor, "_ _"]], biases: Sequence[Float[Tensor, "_"]]
) -> Float[Tensor, "N D"]:
    """ReLU MLP: W_L relu(... relu(W_1 x + b_1) ...) + b_L. Differentiable once.

    Args:
        x: inputs.
        weights: one matrix [outputs, inputs] per layer.
        biases: one vector per layer.

    Example:
        >>> import torch
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
        >>> import torch
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
        ctx.save_for_backward(x, *parameters)
        ctx.set_materialize_grads(False)
        half = len(parameters) // 2
        return kernels("relu_network", x.device).forward(x, parameters[:half], parameters[half:], with_gradient)

    @staticmethod
    @once_differentiable
    def backward(ctx, for_out, for_gradient):
        x, *parameters = ctx.saved_tensors
        half = len(parameters) // 2
        for_x, for_weights, for_biases = kernels("relu_network", x.device).backward(
            x, parameters[:half], parameters[half:], for_out, for_gradient, ctx.needs_input_grad[0]
        )
        return for_x, None, *for_weights, *for_biases
