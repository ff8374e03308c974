"""Whether the user's own files of a run's priors can be read, from their headers. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from threefusion.guidance.prior.lora_keys import read_layers

if TYPE_CHECKING:
    from threefusion.config import RunConfig


def check_user_files(config: RunConfig) -> None:
    """Check the LoRA files of all priors of a run.

    Raises:
        ModelError: one is missing, damaged, or of another kind.
    """
    for prior in [getattr(objective, "prior", None) for stage in config.parts for objective in stage.guidance.values()]:
        for lora in getattr(prior, "lora", ()):
            read_layers(Path(lora.path))
