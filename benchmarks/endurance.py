"""Whether a training slows down or grows over thousands of steps.

    python benchmarks/endurance.py
    python benchmarks/endurance.py --steps 2000 --json

The quickstart's own training through Lightning, with its callbacks and metrics.csv, but small, judged by the closed-form prior,
and with a learning rate next to nothing: the scene, and with it the work of a step, stays the same. Prints the median of the
processor's milliseconds per step (other work on the machine does not count) and the resident memory at every fifth of the way.
Exits with 1 if memory at the end is more than 1.05 times that after the first fifth.
"""

from __future__ import annotations

import argparse
import gc
import json
import sys
import tempfile
import time
from pathlib import Path

from threefusion.machine.process import prepare_process

SMALL = ("guidance.prior=gaussian", "guidance.prior.image_size=16", "camera.height=16", "camera.width=16", "exporter=null")
GROWTH = 1.05
"""Resident memory at the end against that after the first fifth."""


def measure(steps: int) -> list[dict[str, float]]:
    """One row per fifth of the steps: step, median processor time per step, resident memory, number of Python objects."""
    import pytorch_lightning as pl

    from threefusion.callback.snapshot import Interrupt
    from threefusion.config import load_config
    from threefusion.machine.memory import resident_bytes
    from threefusion.run.trainer import make_trainer, silence_libraries
    from threefusion.system.build import build_system

    silence_libraries()
    # pictures and checkpoints at every fifth: were they but in the first, later fifths would seem faster
    intervals = [f"output.image_interval={steps // 5}", f"output.checkpoint_interval={steps // 5}"]
    same = ["optimizer.lr=1e-9", "guidance.guidance_scale=1"]
    config = load_config(
        Path(__file__).parents[1] / "configs" / "quickstart.yaml", [*SMALL, *intervals, *same, f"trainer.max_steps={steps}"]
    )
    rows: list[dict[str, float]] = []

    class Watch(pl.Callback):
        durations: list[float] = []  # noqa: RUF012 (one watch)
        began = 0.0

        def on_train_batch_start(self, *_: object) -> None:
            self.began = time.process_time()

        def on_train_batch_end(self, trainer: pl.Trainer, *_: object) -> None:
            self.durations.append(1000 * (time.process_time() - self.began))
            if trainer.global_step % (steps // 5) == 0:
                middle = sorted(self.durations)[len(self.durations) // 2]
                self.durations.clear()
                resident = (resident_bytes() or 0) / 1e6
                found = {"step": trainer.global_step, "ms_per_step": round(middle, 2), "resident_mb": round(resident, 1)}
                rows.append(found | {"objects": len(gc.get_objects())})

    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        for part in ("checkpoints", "images"):
            (run / part).mkdir()
        trainer = make_trainer(config, run, Interrupt(), 0)
        trainer.callbacks.append(Watch())
        trainer.fit(build_system(config))
    return rows


def main() -> int:
    """Print the table and say how it went."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=5000, metavar="N", help="at least 50 (5000)")
    parser.add_argument("--json", action="store_true", help="for programs")
    arguments = parser.parse_args()
    rows = measure(max(arguments.steps, 50))
    growth = rows[-1]["resident_mb"] / rows[0]["resident_mb"]
    slowing = rows[-1]["ms_per_step"] / rows[0]["ms_per_step"]
    if arguments.json:
        print(json.dumps({"rows": rows, "memory_ratio": round(growth, 4), "time_ratio": round(slowing, 4)}, indent=2))
    else:
        print("| step | processor ms per step | resident MB | Python objects |\n|---|---|---|---|")
        for row in rows:
            print(f"| {row['step']} | {row['ms_per_step']} | {row['resident_mb']} | {row['objects']} |")
        print(f"at the end {growth:.3f} times the memory and {slowing:.3f} times the time per step of the first fifth")
    return int(growth > GROWTH)


if __name__ == "__main__":
    prepare_process()
    sys.exit(main())
