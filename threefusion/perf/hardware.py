"""The machine and the settings of a measurement."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from threefusion.machine.process import cores
from threefusion.ops.backend import installed


def hardware(device: torch.device) -> dict[str, Any]:
    """Device, cores, versions, and the load when the measurement began."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else processor(),
        "cores": cores(),
        "torch": torch.__version__,
        "numba": version("numba") if installed("numba") else None,
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def processor() -> str:
    """The processor's name, as the system gives it."""
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
