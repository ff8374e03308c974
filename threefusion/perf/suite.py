"""The subjects of `perf` and their sizes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from threefusion.errors import UserError
from threefusion.ops.parallel import use_threads
from threefusion.perf.field import encode_candidates, mlp_candidates
from threefusion.perf.guidance import guidance_candidates
from threefusion.perf.hardware import hardware
from threefusion.perf.rendering import composite_candidates, march_candidates, rasterize_candidates
from threefusion.perf.report import Report
from threefusion.perf.step import step_candidates
from threefusion.perf.timing import Candidate, device_clock, interleave


@dataclass(frozen=True)
class Sizes:
    """The problem sizes that are timed."""

    points: Sequence[int] = (32768, 262144)
    batch: Sequence[int] = (1, 2, 4)
    resolution: Sequence[int] = (64, 32, 128)

    @property
    def frames(self) -> list[tuple[int, int]]:
        """(batch, resolution): every batch at the first resolution, and the first batch at every other one."""
        first, *others = self.resolution
        return [*((batch, first) for batch in self.batch), *((self.batch[0], resolution) for resolution in others)]


SUBJECTS: dict[str, Callable[[Sizes, torch.device], Iterator[Candidate]]] = {
    "encode": lambda sizes, device: encode_candidates(sizes.points, device),
    "march": lambda sizes, device: march_candidates(sizes.frames, device),
    "composite": lambda sizes, device: composite_candidates(sizes.frames, device),
    "rasterize": lambda sizes, device: rasterize_candidates(sizes.resolution, device),
    "mlp": lambda sizes, device: mlp_candidates(sizes.points, device),
    "step": lambda sizes, device: step_candidates(sizes.frames, device),
    "guidance": lambda sizes, device: guidance_candidates(sizes.batch, device),
}


def measure(
    subjects: Mapping[str, Callable[[torch.device], Iterable[Candidate]]],
    threads: Sequence[int],
    repetitions: int,
    processor_time: bool = False,
) -> Report:
    """Time each subject's candidates, interleaved, with each number of threads.

    `processor_time` counts the processor time of this process: with one thread that is the wall time on an idle machine.

    Raises:
        UserError: processor time is requested, and the work is done by a GPU.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if processor_time and device.type != "cpu":
        raise UserError("--processor-time: does not measure GPU time; omit it")
    wall = device_clock if device.type == "cuda" else time.perf_counter
    clock = time.process_time if processor_time else wall
    report = Report(hardware(device) | {"clock": "processor" if processor_time else "wall"})
    before = torch.get_num_threads()
    try:
        for subject, candidates_on in subjects.items():
            for count in threads or (before,):
                torch.set_num_threads(count)
                with use_threads(count):
                    candidates = list(candidates_on(device))
                    timings = interleave([one.call for one in candidates], repetitions, clock)
                report.add(subject, count, candidates, timings)
    finally:
        torch.set_num_threads(before)
    return report
