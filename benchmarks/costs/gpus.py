"""Data sheets of GPUs, and the time that an operation should take on one."""

from __future__ import annotations

from dataclasses import dataclass

COMPUTE, BANDWIDTH = 0.5, 0.8
"""Shares of the two peaks that large products and copies are taken to reach; an assumption, not a measurement."""


@dataclass(frozen=True)
class GPU:
    """Peaks of one GPU, without sparsity."""

    name: str
    """As it is part of the name that torch gives."""
    tflops: int | float
    """Matrix products in half precision with sums in float32, 1e12 operations per second."""
    gb_per_second: int | float
    """Of its memory, 1e9 bytes per second."""
    gb: int
    """Size of its memory."""
    source: str
    """Where the numbers stand; with sparsity the sheets give twice the operations."""

    def milliseconds(self, flops: int, traffic: int) -> float:
        """The longer one of computing and of moving the bytes, at the shares that are reached."""
        compute = flops / (COMPUTE * self.tflops * 1e12)
        return 1000 * max(compute, traffic / (BANDWIDTH * self.gb_per_second * 1e9))


GPUS = (
    GPU("H200", 989.5, 4800, 141, "https://www.nvidia.com/en-us/data-center/h200/"),
    GPU("H100", 989.5, 3350, 80, "https://www.nvidia.com/en-us/data-center/h100/"),
    GPU("A100", 312, 2039, 80, "https://www.nvidia.com/en-us/data-center/a100/"),
    GPU("RTX 4090", 165.2, 1008, 24, "https://images.nvidia.com/aem-dam/Solutions/geforce/ada/nvidia-ada-gpu-architecture.pdf"),
    GPU("L4", 121, 300, 24, "https://www.nvidia.com/en-us/data-center/l4/"),
    GPU("T4", 65, 320, 16, "https://www.nvidia.com/en-us/data-center/tesla-t4/"),
)
"""Those of the table: SXM variants of H200, H100 and the A100 with 80 GB."""
