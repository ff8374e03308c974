"""Cost of a run so far: wall time, in all and by phase, evaluations of the priors' networks, memory."""

from __future__ import annotations

import time
from typing import Any

import pytorch_lightning as pl

from threefusion.machine.memory import peak_bytes
from threefusion.system.phases import OTHER, PHASES


class RunCost(pl.Callback):
    """Adds up over all parts of a resumed run; what a killed part did after its last checkpoint is not counted.

    Lightning's own Timer would take the place of the one that enforces `trainer.max_time`.
    """

    def __init__(self) -> None:
        self.earlier: dict[str, int | float] = {"calls": 0, "images": 0, "memory": 0}
        self.earlier |= dict.fromkeys(("seconds", *PHASES, OTHER), 0.0)
        """Totals of the parts before this one."""
        self._module: pl.LightningModule | None = None
        self._before: dict[str, int] = {}
        self._began = 0.0
        self._ended: float | None = None

    @property
    def total(self) -> dict[str, int | float]:
        """Of all parts: `seconds`, `calls` of networks, noised `images`, seconds by phase, and the largest `memory` in bytes."""
        if self._module is None:
            return self.earlier
        seconds = (time.monotonic() if self._ended is None else self._ended) - self._began - self._module.clock.aside
        now = {"seconds": seconds, **self._module.clock.seconds(seconds)}
        now |= {name: count - self._before[name] for name, count in self._counted().items()}
        memory = max(self.earlier["memory"], peak_bytes(self._module.trainer.strategy.root_device) or 0)
        return {name: self.earlier[name] + value for name, value in now.items()} | {"memory": memory}

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Time and evaluations count from here."""
        self._module = module
        self._before = self._counted()
        self._began = time.monotonic()

    def on_train_end(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        """Time stops here."""
        self._ended = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """The totals."""
        return self.total

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from a checkpoint."""
        self.earlier = dict(state_dict)

    def _counted(self) -> dict[str, int]:
        counts = [prior.evaluations for prior in self._module.priors]
        return {"calls": sum(count.calls for count in counts), "images": sum(count.images for count in counts)}
