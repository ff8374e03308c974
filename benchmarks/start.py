"""What a run costs beside its training steps, of two checkouts in turns: A, which this file is part of, and B.

    python benchmarks/start.py FOLDER_OF_B
    python benchmarks/start.py FOLDER_OF_B --repetitions 3 --steps 80

Both train the quickstart for a few steps, with as many previews, checkpoints and facing checks as in a whole run, and export it.
Seconds of the processors' time, medians over the repetitions: from the command to the beginning and to the end of the first step,
of the facing checks, and of all that is no step. Peak memory is the most that the process held. The first run of each, which
compiles kernels, is not counted. Exits with 1 if a ratio A / B is above its bar.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import PathFinder
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).resolve().parents[1]
BARS = {
    "seconds to the first step": 0.5,
    "seconds to its end": 0.5,
    "seconds of facing checks": 0.65,
    "seconds outside of steps": 0.55,
    "megabytes at most": 0.9,
}
"""Largest ratios A / B by what is measured."""
SYSTEM = "threefusion.system.text_to_3d"
STEPS, FACING = "steps", "seconds of facing checks"
"""Sums that a run notes; facing checks are a part of steps."""
BEGINS, ENDS, OUTSIDE, MEMORY = (name for name in BARS if name != FACING)


class Watch(MetaPathFinder, Loader):
    """Notes in a file the processors' time that the training system's steps take, whichever version of it is imported."""

    def __init__(self, file: Path) -> None:
        self.file, self.seconds = file, {STEPS: 0.0, FACING: 0.0}

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """That of the one module."""
        spec = PathFinder.find_spec(name, path, target) if name == SYSTEM else None
        if spec is not None:
            self._loader, spec.loader = spec.loader, self
        return spec

    def exec_module(self, module: Any) -> None:
        """Execute it, then replace the methods that are measured."""
        self._loader.exec_module(module)
        system = module.TextTo3D
        for name, method in {STEPS: "optimizer_step", FACING: "check_facing"}.items():
            setattr(system, method, self._measured(name, getattr(system, method)))

    def _measured(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            began = time.process_time()
            result = method(*arguments, **options)
            ended = time.process_time()
            self.seconds[name] += ended - began
            self.seconds = {BEGINS: began, ENDS: ended} | self.seconds
            self.file.write_text(json.dumps(self.seconds))
            return result

        return call


CUSTOMIZE = """
from importlib.util import module_from_spec, spec_from_file_location
spec = spec_from_file_location("start", {file!r})
start = module_from_spec(spec)
spec.loader.exec_module(start)
start.sys.meta_path.insert(0, start.Watch(start.Path({seconds!r})))
"""
"""Imported by Python before the program, which is run as users run it."""


def measure(root: Path, folder: Path, steps: int, more: list[str]) -> dict[str, float]:
    """What one run of the checkout `root` cost."""
    intervals = [f"output.image_interval={steps // 5}", f"output.checkpoint_interval={steps // 5}"]
    words = ["train", "--config", str(root / "configs" / "quickstart.yaml"), "--out", str(folder / "run")]
    words += [f"trainer.max_steps={steps}", f"facing.steps=[{steps // 5}, {steps // 5 * 2}]", *intervals, *more]
    (folder / "sitecustomize.py").write_text(CUSTOMIZE.format(file=__file__, seconds=str(folder / "seconds.json")))
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{root}"}
    command = [sys.executable, "-m", "threefusion", *words]
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen(command, env=environment, cwd=folder, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit((folder / "log.txt").read_text())
    seconds = json.loads((folder / "seconds.json").read_text())
    outside = usage.ru_utime + usage.ru_stime - seconds.pop(STEPS) + seconds[FACING]
    return seconds | {OUTSIDE: outside, MEMORY: usage.ru_maxrss / 1e3}


def main() -> None:
    """Measure both in turns, print a line per number, and compare with the bars."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("other", type=Path, metavar="FOLDER_OF_B")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides of A's config")
    arguments = parser.parse_args()
    roots = {HERE: arguments.overrides, arguments.other.resolve(): []}
    rows: dict[Path, list[dict[str, float]]] = {root: [] for root in roots}
    for repetition in range(arguments.repetitions + 1):
        for root, more in roots.items():
            with tempfile.TemporaryDirectory(prefix="threefusion-start-") as folder:
                row = measure(root, Path(folder), arguments.steps, more)
            rows[root] += [row] if repetition else []
    failed = False
    for name, bar in BARS.items():
        a, b = (median(row[name] for row in rows[root]) for root in roots)
        failed |= a / b > bar
        print(f"{name:26s} A {a:8.2f}  B {b:8.2f}  A / B {a / b:.2f}  (at most {bar})", flush=True)
    sys.exit(failed)


if __name__ == "__main__":
    main()
