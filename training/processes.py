"""Data-parallel training under `torchrun`: each process draws its part of a batch, gradients are averaged."""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
from torch import distributed, nn


def join() -> tuple[int, int]:
    """Rank and world size; (0, 1) without a launcher."""
    rank, count = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    if count > 1 and not distributed.is_initialized():
        distributed.init_process_group("gloo")
    return rank, count


def average_gradients(parameters: Iterable[nn.Parameter], count: int) -> None:
    """Average all gradients over `count` processes with one all-reduce."""
    if count == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    for gradient, mean in zip(gradients, (flat / count).split([g.numel() for g in gradients]), strict=True):
        gradient.copy_(mean.view_as(gradient))


def first_says(value: float, count: int) -> float:
    """Broadcast the first process's value: clocks differ, and all must stop at the same step."""
    if count == 1:
        return value
    message = torch.tensor(value, dtype=torch.float64)
    distributed.broadcast(message, 0)
    return message.item()
