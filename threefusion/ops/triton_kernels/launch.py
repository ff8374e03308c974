"""What all launches have in common."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def device_of(tensor: Tensor) -> AbstractContextManager:
    """Makes the tensor's device the current one: Triton launches there. Triton's interpreter takes tensors of the processor."""
    return torch.cuda.device(tensor.device) if tensor.is_cuda else nullcontext()
