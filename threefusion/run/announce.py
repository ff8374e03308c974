"""What `train` says about memory before it begins."""

from __future__ import annotations

import sys

import torch

from threefusion.errors import UserError
from threefusion.plan.plan import predict_with
from threefusion.plan.report import as_line
from threefusion.plan.scaling import SMALL_STEPS
from threefusion.system.text_to_3d import TextTo3D

FEWEST_STEPS = 50
"""A shorter training is over before the dry run has paid off."""


def announce(system: TextTo3D, steps: range) -> None:
    """Print the peak that the steps will come to, in one line; nothing for a handful of steps.

    Small steps tell, so that the dry run is no peak of its own; on an accelerator its traces are wiped out.
    """
    if len(steps) < FEWEST_STEPS:
        return
    try:
        print(as_line(predict_with(system, steps, max(SMALL_STEPS))), file=sys.stderr, flush=True)
    except UserError as error:
        # every cell of the scene occupied is the worst case: the run may still fit
        print(f"memory: with the whole scene occupied, {error}", file=sys.stderr, flush=True)
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
