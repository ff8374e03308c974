"""What runs gain by sharing a process: a benchmark against that of another version, and `train --prompts` against run after run.

    git worktree add ../before 1d43524
    python -m benchmarks.together bench ../before                          # 8 cells, in turns with the other version
    python -m benchmarks.together bench ../before --prompts 1 --seeds 2 trainer.max_steps=50
    python -m benchmarks.together prompts                                  # 8 prompts at once and one after the other
    python -m benchmarks.together prompts --prompts 2 trainer.max_steps=50

Each version trains its own quickstart. A ratio is the median over pairs of neighbours, as in `benchmarks.against`; by default
there is one pair, and none before it that is not counted.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import reduce
from pathlib import Path

from benchmarks.against import HERE, Cost, line, ratios, run
from threefusion.machine.process import cores
from threefusion.perf.hardware import processor

PROMPTS = (
    "a blue car", "an orange bunny", "a yellow chair", "a red mushroom",
    "a green duck", "a blue rocket", "a cyan mug", "a purple teapot",
)  # fmt: skip
CONFIG = "configs/quickstart.yaml"


def bench(tree: Path, folder: Path, options: argparse.Namespace) -> Cost:
    """The cost of a benchmark in a version's own tree."""
    folder.mkdir()
    file = folder / "cells.yaml"
    prompts = ", ".join(PROMPTS[: options.prompts])
    lines = [f"config: {tree / CONFIG}", "variants: {quickstart: {}}", f"prompts: [{prompts}]", "threads: 1"]
    file.write_text("\n".join([*lines, f"seeds: {list(range(options.seeds))}"]) + "\n", encoding="utf-8")
    command = ["bench", "--config", str(file), "--out", str(folder / "out"), *options.overrides]
    return run(tree, command, folder / "log")


def at_once(folder: Path, options: argparse.Namespace) -> Cost:
    """The cost of all prompts in one process."""
    folder.mkdir()
    file = folder / "prompts.txt"
    file.write_text("\n".join(PROMPTS[: options.prompts]), encoding="utf-8")
    words = ["--prompts", str(file), "--out", str(folder / "out")]
    return run(HERE, ["train", "--config", CONFIG, *words, *options.overrides], folder / "log")


def one_by_one(folder: Path, options: argparse.Namespace) -> Cost:
    """The cost of a run for each prompt, the peak of memory that of the largest."""
    folder.mkdir()
    costs = []
    for index, prompt in enumerate(PROMPTS[: options.prompts]):
        words = ["--prompt", prompt, "--out", str(folder / str(index))]
        costs.append(run(HERE, ["train", "--config", CONFIG, *words, *options.overrides], folder / "log"))
    return reduce(lambda a, b: Cost(a.wall + b.wall, a.cpu + b.cpu, max(a.memory, b.memory)), costs)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.together", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("bench", "prompts"))
    parser.add_argument("tree", type=Path, nargs="?", help="a worktree of the other version, for bench")
    parser.add_argument("--prompts", type=int, metavar="N", help="prompts, at most 8 (4 with two seeds for bench, else 8)")
    parser.add_argument("--seeds", type=int, default=2, metavar="N", help="seeds of bench (%(default)s)")
    parser.add_argument("--runs", type=int, default=1, metavar="N", help="pairs (%(default)s)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="overrides of both")
    options = parser.parse_intermixed_args()
    if options.tree is not None and "=" in str(options.tree):
        options.tree, options.overrides = None, [str(options.tree), *options.overrides]
    if options.what == "bench" and options.tree is None:
        parser.error("bench: name a worktree of the other version")
    options.prompts = options.prompts or (4 if options.what == "bench" else 8)
    print(f"{processor()}, {cores()} cores; {options.what}, {options.prompts} prompts {' '.join(options.overrides)}")
    print(f"{'':<8}{'wall s':>10}{'cpu s':>10}{'peak GiB':>10}")
    pairs = []
    with tempfile.TemporaryDirectory() as temporary:
        for index in range(options.runs):
            here, there = Path(temporary, f"{index}-here"), Path(temporary, f"{index}-there")
            if options.what == "bench":
                pairs.append((bench(HERE, here, options), bench(options.tree.resolve(), there, options)))
            else:
                pairs.append((at_once(here, options), one_by_one(there, options)))
            print(f"{line('here', pairs[-1][0])}\n{line('there', pairs[-1][1])}", flush=True)
    print(line("ratio", ratios(pairs)))


if __name__ == "__main__":
    main()
