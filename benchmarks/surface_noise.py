"""What noise on the surface costs, as a share of the rest of a training step: `python -m benchmarks.surface_noise [--steps 20]`.

Both are measured in the same steps of a quickstart with `cfd`, so that the load of the machine cancels.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from statistics import median

from threefusion.config import load_config
from threefusion.machine.process import prepare_process

CONFIG = Path(__file__).parents[1] / "configs" / "cfd-tiny.yaml"
LARGEST = 0.15
"""Share of the rest of a step that the noise may cost."""


def main() -> None:
    """Print the share, and fail if it is too large."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=20)
    steps = parser.parse_args().steps
    prepare_process()
    step, noise = measure(steps)
    share = noise / (step - noise)
    print(f"a step {1e3 * step:.0f} ms, of which noise on the surface {1e3 * noise:.1f} ms: {100 * share:.1f} % of the rest")
    if share > LARGEST:
        sys.exit(f"noise on the surface costs more than {100 * LARGEST:.0f} % of the rest of a step")


def measure(steps: int) -> tuple[float, float]:
    """Median seconds of a step, and of the noise in it."""
    from threefusion.run.trainer import make_trainer, silence_libraries
    from threefusion.system.build import build_system

    silence_libraries()
    config = load_config(CONFIG, [f"trainer.max_steps={steps}", "facing.steps=[]"])
    system = build_system(config)
    source, train = system.guidance["guidance"].noise, system.training_step
    paint, starts, painting = source.forward, [], []

    def timed(*arguments):
        begin = time.perf_counter()
        noise = paint(*arguments)
        painting.append(time.perf_counter() - begin)
        return noise

    def step(*arguments):
        starts.append(time.perf_counter())
        return train(*arguments)

    source.forward, system.training_step = timed, step
    with tempfile.TemporaryDirectory() as folder:
        make_trainer(config, Path(folder), [], 0, None, []).fit(system)
    return median(later - earlier for earlier, later in pairwise(starts)), median(painting)


if __name__ == "__main__":
    main()
