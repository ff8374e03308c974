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

    def state(self) -> dict[str, Tensor]:
        """What has been collected, for a checkpoint."""
        return {name: torch.stack(values).cpu() for name, values in self._values.items()}

    def restore(self, state: Mapping[str, Float[Tensor, " steps"]]) -> None:
        """Go on from a `state`."""
        self._values = {name: list(values) for name, values in state.items()}

    def take(self) -> dict[str, Float[Tensor, ""]]:
        """The mean of each number over the steps that had it, on the CPU, in one transfer; then nothing is held any more."""
        if not self._values:
            return {}
        device = next(reversed(self._values.values()))[-1].device  # restored values are on the CPU
        stacked = [torch.stack([value.to(device) for value in values]) for values in self._values.values()]
        means = torch.stack([values.float().mean() for values in stacked]).cpu()
        taken = dict(zip(self._values, means.unbind(), strict=True))
        self._values.clear()
        return taken
