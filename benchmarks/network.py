"""Times the frozen networks of the bundled priors on OpenVINO against eager torch, and checks both against float32.

    python -m benchmarks.network [--threads 1 2] [--repetitions 15] [--processor-time]

`call` is one call of the network; `guidance` is what a step of score distillation needs of a prior: the encoding of the views,
one call under two conditions, and the gradient to the images. `auto` without OpenVINO is `traced`. The ways take turns in one
process; ratios are of minima. Exits with 1 if on all cores a call of 8 images on OpenVINO is not twice as fast as eager, guidance
by the latent prior not 1.5 times, or an error above 1 %.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch

from threefusion.config.catalogue import settings_class
from threefusion.guidance.prior.conditioning import Conditioning
from threefusion.guidance.prior.prior import DiffusionPrior
from threefusion.guidance.prior.traced import CALLS, CHECKS
from threefusion.machine.process import cores
from threefusion.perf.hardware import hardware
from threefusion.perf.timing import interleave, plain
from threefusion.registry import build

WAYS = {"eager": "eager", "traced": "auto", "openvino": "openvino"}
"""Ways by the name of the execution; outside of a training `auto` does not choose OpenVINO."""
BARS = {("pixel", "call", 8): 2.0, ("latent", "guidance", 8): 1.5}
"""How many times as fast as eager OpenVINO has to be on all cores."""
LARGEST_ERROR = 1e-2


@dataclass(frozen=True)
class Row:
    """One way to run one case."""

    case: tuple[str, str, int]
    """Prior, what is timed, items of the network's batch."""
    threads: int
    way: str
    milliseconds: float
    ratio: float
    """Eager's time divided by this one."""
    error: float
    """Of the network's output, relative to float32."""

    @property
    def failed(self) -> bool:
        """Whether it misses a bar."""
        slow = self.way == "openvino" and self.threads == cores() and self.ratio < BARS.get(self.case, 0)
        return slow or self.error > LARGEST_ERROR

    def __str__(self) -> str:
        kind, what, batch = self.case
        mark = " **misses its bar**" if self.failed else ""
        numbers = f"{self.milliseconds:.1f} | {self.ratio:.2f}{mark} | {self.error:.1e}"
        return f"| {kind} | {what} | {batch} | {self.threads} | {self.way} | {numbers} |"


def call(prior: DiffusionPrior, batch: int) -> torch.Tensor:
    """One call of the network."""
    draw = torch.Generator().manual_seed(0)
    z = torch.randn(batch, *prior.shape, generator=draw)
    tokens = torch.randn(batch, 16, 64, generator=draw)
    with torch.no_grad():
        return prior.predict(z, torch.linspace(0.02, 0.9, batch), Conditioning(tokens)).output


def guidance(prior: DiffusionPrior, batch: int) -> torch.Tensor:
    """Encoding, one call under two conditions, and the gradient to the images."""
    image = torch.rand(batch // 2, 32, 32, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    x = prior.encode(image)
    output = call(prior, batch)
    x.backward(x.detach())
    return output


WORK: dict[str, Callable[[DiffusionPrior, int], torch.Tensor]] = {"call": call, "guidance": guidance}


def measure(kind: str, threads: int, repetitions: int, clock: Callable[[], float]) -> list[Row]:
    """The rows of one prior."""
    torch.set_num_threads(threads)
    os.environ["OMP_NUM_THREADS"] = str(threads)
    exact = build(settings_class("prior", kind)(dtype="float32", execution="eager"))
    settings = settings_class("prior", kind)
    priors = {way: build(settings(dtype="bfloat16", execution=execution)) for way, execution in WAYS.items()}
    rows = []
    for what, work in WORK.items():
        for batch in (4, 8):
            expected = work(exact, batch)
            for _ in range(CALLS + CHECKS):  # until it is traced
                work(priors["traced"], batch)
            errors = {way: float((work(prior, batch) - expected).norm() / expected.norm()) for way, prior in priors.items()}
            calls = [plain(partial(work, prior, batch)) for prior in priors.values()]
            timings = interleave(calls, repetitions, clock)
            times = {way: timing.minimum for way, timing in zip(WAYS, timings, strict=True)}
            rows += [Row((kind, what, batch), threads, way, times[way], times["eager"] / times[way], errors[way]) for way in WAYS]
    return rows


def main() -> None:
    """Print a row per prior, work, batch, number of threads and way."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repetitions", type=int, default=15)
    parser.add_argument("--processor-time", action="store_true", help="of the process, for a busy machine and one thread")
    arguments = parser.parse_args()
    clock = time.process_time if arguments.processor_time else time.perf_counter
    print(", ".join(f"{name}: {value}" for name, value in hardware(torch.device("cpu")).items()))
    print(f"\n{'processor' if arguments.processor_time else 'wall'} time\n")
    print("| prior | timed | batch | threads | way | ms | x eager | error |\n|---|---|---|---|---|---|---|---|")
    failed = False
    for threads in arguments.threads:
        for kind in ("pixel", "latent"):
            for row in measure(kind, threads, arguments.repetitions, clock):
                print(row, flush=True)
                failed |= row.failed
    sys.exit(failed)


if __name__ == "__main__":
    main()
