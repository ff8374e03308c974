"""Numbers of many steps, read by the host once per logged row."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor


class RunningMeans:
    """Collects scalars where they were computed; nothing waits for a device until the means are taken."""

    def __init__(self) -> None:
        self._values: dict[str, list[Tensor]] = {}

    def add(self, metrics: Mapping[str, Float[Tensor, ""]]) -> None:
        """One step's numbers; not every step need have every one."""
        for name, value in metrics.items():
            self._values.setdefault(name, []).append(value.detach())

    def take(self) -> dict[str, Float[Tensor, ""]]:
        """The mean of each number over the steps that had it, on the CPU, in one transfer; then nothing is held any more."""
        if not self._values:
            return {}
        means = torch.stack([torch.stack(values).float().mean() for values in self._values.values()]).cpu()
        taken = dict(zip(self._values, means.unbind(), strict=True))
        self._values.clear()
        return taken
