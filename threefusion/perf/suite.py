"""Subjects by name: their sizes, and what is timed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch

from threefusion.errors import UserError
from threefusion.guidance.prior.architectures import ARCHITECTURES
from threefusion.ops.parallel import use_threads
from threefusion.perf.architecture import architecture_candidates
from threefusion.perf.field import encode_candidates, mlp_candidates
from threefusion.perf.floors import probes, rates
from threefusion.perf.guidance import guidance_candidates
from threefusion.perf.hardware import hardware
from threefusion.perf.rendering import composite_candidates, march_candidates, rasterize_candidates
from threefusion.perf.report import Report
from threefusion.perf.step import step_candidates
from threefusion.perf.timing import Candidate, device_clock, interleave

DTYPE = "bfloat16"
"""Of the full-size networks."""


@dataclass(frozen=True)
class Sizes:
    """How much of everything is timed."""

    points: Sequence[int] = (32768, 262144)
    batch: Sequence[int] = (1, 2, 4)
    resolution: Sequence[int] = (64, 32, 128)
    architecture: str | None = None
    """A model's alias, or the bundled prior."""

    @property
    def frames(self) -> list[tuple[int, int]]:
        """(batch, resolution): every batch at the first resolution, and the first batch at every other one."""
        first, *others = self.resolution
        return [*((batch, first) for batch in self.batch), *((self.batch[0], resolution) for resolution in others)]


Subject = Callable[[Sizes, torch.device], Iterator[Candidate]]
SUBJECTS: dict[str, Subject] = {
    "encode": lambda sizes, device: encode_candidates(sizes.points, device),
    "march": lambda sizes, device: march_candidates(sizes.frames, device),
    "composite": lambda sizes, device: composite_candidates(sizes.frames, device),
    "rasterize": lambda sizes, device: rasterize_candidates(sizes.resolution, device),
    "mlp": lambda sizes, device: mlp_candidates(sizes.points, device),
    "step": lambda sizes, device: step_candidates(sizes.frames, device),
    "guidance": lambda sizes, device: guidance(sizes, device),
}


def guidance(sizes: Sizes, device: torch.device) -> Iterator[Candidate]:
    """The bundled prior, or a full-size architecture.

    Raises:
        UserError: the latter, and there is no GPU.
    """
    if sizes.architecture is None:
        return guidance_candidates(sizes.batch, device)
    if device.type != "cuda":
        raise UserError("--architecture: networks of full size are timed on a CUDA device, and torch sees none")
    return architecture_candidates(ARCHITECTURES[sizes.architecture], sizes.batch, DTYPE, device)


def measure(subjects: dict[str, Sizes], threads: Sequence[int], repetitions: int, processor_time: bool = False) -> Report:
    """Time `subjects` with each number of threads; floors are measured among the candidates of each subject.

    `processor_time` counts what the processor spent on this process: with one thread that is what the clock would show if
    nothing else ran.

    Raises:
        UserError: it is to be counted, and the work is done by a GPU.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if processor_time and device.type != "cpu":
        raise UserError("--processor-time: knows nothing of what a GPU does; leave it away")
    wall = device_clock if device.type == "cuda" else time.perf_counter
    report = Report(hardware(device) | {"clock": "processor" if processor_time else "wall"})
    now = time.process_time if processor_time else wall
    before = torch.get_num_threads()
    try:
        for subject, sizes in subjects.items():
            for count in threads or (before,):
                torch.set_num_threads(count)
                with use_threads(count):
                    candidates, measured = list(SUBJECTS[subject](sizes, device)), probes(device)
                    timings = interleave([one.call for one in [*candidates, *measured]], repetitions, now)
                split = len(candidates)
                report.add(subject, count, candidates, timings[:split], rates(measured, timings[split:]))
    finally:
        torch.set_num_threads(before)
    return report
