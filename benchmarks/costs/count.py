"""Counts the operations and the bytes of a call, kernel by kernel. On the meta device nothing is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from benchmarks.costs.gpus import GPU


@dataclass(frozen=True)
class Kernel:
    """One operation as it is launched."""

    flops: int
    traffic: int
    """Bytes read and written."""


@dataclass(frozen=True)
class Cost:
    """Of one call."""

    kernels: tuple[Kernel, ...]
    weights: int
    """Bytes."""
    kept: int
    """Bytes that the forward pass keeps for the backward pass, weights left out."""

    @property
    def flops(self) -> int:
        """In matrix products and convolutions; a multiplication and an addition are two."""
        return sum(kernel.flops for kernel in self.kernels)

    @property
    def traffic(self) -> int:
        """Bytes that pass memory when every kernel reads its inputs and writes its outputs."""
        return sum(kernel.traffic for kernel in self.kernels)

    def milliseconds(self, gpu: GPU) -> float:
        """The sum of what the kernels should take, without gaps between them."""
        return sum(gpu.milliseconds(kernel.flops, kernel.traffic) for kernel in self.kernels)


class Counter(TorchDispatchMode):
    """Records every kernel that runs inside; views are none."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels: list[Kernel] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and record it."""
        kwargs = kwargs or {}
        if func not in flop_registry and func is not torch.ops.prim.device.default:
            decomposed = func.decompose(*args, **kwargs)
            if decomposed is not NotImplemented:
                return decomposed
        out = func(*args, **kwargs)
        counts = flop_registry.get(func._overloadpacket)
        if not is_view(func) and (traffic := nbytes(out)):
            self.kernels.append(Kernel(counts(*args, **kwargs, out_val=out) if counts else 0, traffic + nbytes((args, kwargs))))
        return out


class FusedAttention(TorchFunctionMode):
    """Attention as one kernel that does not write its matrix, where it is not differentiated."""

    def __init__(self, counter: Counter) -> None:
        super().__init__()
        self.counter = counter

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Record attention as a whole, and let all else pass."""
        kwargs = kwargs or {}
        if func is not torch.nn.functional.scaled_dot_product_attention or torch.is_grad_enabled():
            return func(*args, **kwargs)
        query, key, value = (*args, *(kwargs[name] for name in ("query", "key", "value")[len(args) :]))[:3]
        out = query.new_empty(*query.shape[:-1], value.shape[-1])
        flops = 2 * query[..., 0].numel() * key.shape[-2] * (query.shape[-1] + value.shape[-1])
        self.counter.kernels.append(Kernel(flops, nbytes((query, key, value, out))))
        return out


def count(call: Callable[[], Any], weights: Iterable[Tensor]) -> Cost:
    """The cost of a call on the meta device; `weights` are the network's."""
    sizes = {id(weight): weight.nbytes for weight in weights}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if id(tensor) not in sizes:
            kept[id(tensor)] = tensor.nbytes
            alive.append(tensor)
        return tensor

    alive: list[Tensor] = []
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), Counter() as counter, FusedAttention(counter):
        call()
    return Cost(tuple(counter.kernels), sum(sizes.values()), sum(kept.values()))


def is_view(func: Any) -> bool:
    """Whether an operation moves nothing: it returns a part of its input, or memory that is not written."""
    if func._schema.name.startswith(("aten::empty", "aten::new_empty")):
        return True
    returned = [value.alias_info for value in func._schema.returns]
    return any(alias is not None and not alias.is_write for alias in returned)


def nbytes(values: Any) -> int:
    """The bytes of all tensors in a structure."""
    return sum(value.nbytes for value in tree_leaves(values) if isinstance(value, Tensor))
