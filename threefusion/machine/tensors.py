"""Frozen dataclasses of tensors: moving them to a device, selecting their rows."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import TypeVar

import torch
from jaxtyping import Int
from torch import Tensor

Same = TypeVar("Same", bound="TensorData")


def send(tensor: Tensor, device: torch.device | str) -> Tensor:
    """`tensor` on `device`; a copy from the CPU to a GPU is queued, so that the host does not wait for what is queued before it.

    That is safe without pinned memory: the driver has read the source when the call returns. The other direction does wait.
    """
    return tensor.to(device, non_blocking=tensor.device.type == "cpu" and torch.device(device).type == "cuda")


class TensorData:
    """Mixin for frozen dataclasses whose fields are tensors, other such dataclasses, or plain values."""

    def to(self: Same, device: torch.device | str) -> Same:
        """The same value with every tensor on `device`."""
        moved = {
            f.name: send(value, device) if isinstance(value, Tensor) else value.to(device)
            for f in fields(self)  # type: ignore[arg-type]
            if isinstance(value := getattr(self, f.name), Tensor) or (is_dataclass(value) and hasattr(value, "to"))
        }
        return replace(self, **moved)  # type: ignore[type-var]

    def select(self: Same, index: Int[Tensor, "K"]) -> Same:
        """The rows at `index` of every tensor, also of nested dataclasses; other fields stay."""
        rows = {
            f.name: value[index.to(value.device)] if isinstance(value, Tensor) else value.select(index)
            for f in fields(self)  # type: ignore[arg-type]
            if isinstance(value := getattr(self, f.name), Tensor | TensorData)
        }
        return replace(self, **rows)  # type: ignore[type-var]
