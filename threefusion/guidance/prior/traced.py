"""Frozen networks without Python between their kernels."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

CALLS = 16
"""Calls of a shape before it is traced, which takes as long as 50 calls of the bundled pixel prior save."""
CHECKS = 3
"""Calls after that in which both are run; in the first two, torch still optimises what it has traced."""


class Traced:
    """Calls a frozen network, from some call of a shape on as torch has traced it: the same kernels and bits, in less time.

    Calls that have to be differentiated, networks that cannot be traced, and those whose trace returns other bits in one of
    `CHECKS` calls run as before.
    """

    def __init__(self, network: nn.Module, **options: Any) -> None:
        self.network, self.options = network, options
        self._calls: dict[tuple[Any, ...], int] = {}
        self._traced: dict[tuple[Any, ...], torch.jit.ScriptFunction | None] = {}

    def __call__(self, *inputs: Tensor) -> Any:
        """What the network returns."""
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in (*inputs, *self.network.parameters())):
            return self._plain(*inputs)
        key = tuple((tensor.shape, tensor.dtype) for tensor in inputs)
        calls = self._calls[key] = self._calls.get(key, 0) + 1
        if calls == CALLS:
            self._traced[key] = self._trace(inputs)
        traced = self._traced.get(key)
        if traced is None:
            return self._plain(*inputs)
        result = traced(*inputs)
        if calls < CALLS + CHECKS and not same_bits(result, expected := self._plain(*inputs)):
            self._traced[key] = None
            return expected
        return result

    def _plain(self, *inputs: Tensor) -> Any:
        return self.network(*inputs, **self.options)

    def _trace(self, inputs: tuple[Tensor, ...]) -> torch.jit.ScriptFunction | None:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # shapes are constants on purpose
            try:
                # of a function, in which weights are constants
                return torch.jit.trace(self._plain, inputs, check_trace=False)
            except (RuntimeError, TypeError):
                return None


def same_bits(one: Any, other: Any) -> bool:
    """Whether two results of a network are equal, tuples or not."""
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return torch.equal(one, other)
    return isinstance(one, tuple) and isinstance(other, tuple) and all(map(same_bits, one, other))
