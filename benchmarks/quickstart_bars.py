"""The quickstart over prompts and seeds against the exact truth, as one table.

    python benchmarks/quickstart_bars.py [--jobs 2] [--out runs/bars] [key=value …]

Each cell is an ordinary `launch.py train` in a process and folder of its own; finished cells are kept, so an interrupted
table goes on where it stopped. Writes `docs/benchmarks/quickstart.md`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import mean

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "docs" / "benchmarks" / "quickstart.md"
PROMPTS = {
    "a blue car": "seen",
    "a red mushroom": "seen",
    "an orange bunny": "seen",
    "a yellow chair": "held out",
    "a blue rocket": "held out",
    "a cyan mug": "held out",
}
SEEDS = (0, 1)
COLUMNS = {
    "silhouette_iou": "IoU",
    "ellipsoid_iou": "ellipsoid",
    "best_wrong_class_iou": "best wrong class",
    "skill": "skill",
    "albedo_error": "albedo error",
    "albedo_error_after_gain": "after gain",
    "constant_color_error": "constant colour",
    "grey_error": "grey",
}


def cell(prompt: str, seed: int, out: Path, threads: int, overrides: list[str]) -> dict:
    """The report of one run, training it first unless it is there."""
    folder = out / f"{prompt.replace(' ', '-')}-{seed}"
    report = folder / "report.json"
    if not report.exists():
        resumed = (folder / "config.yaml").exists()
        start = (
            ["--resume", str(folder)]
            if resumed
            else ["--config", "configs/quickstart.yaml", "--prompt", prompt, "--out", str(folder)]
        )
        command = [sys.executable, "launch.py", "train", *start, *([] if resumed else [f"seed={seed}", *overrides])]
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        (out / f"{folder.name}.log").write_text(done.stdout + done.stderr, encoding="utf-8")
    return {"prompt": prompt, "seed": seed} | (json.loads(report.read_text()) if report.exists() else {"metrics": None})


def table(cells: list[dict], header: str) -> str:
    """Markdown: a row per cell, then the means and the bars."""
    lines = [
        header,
        "",
        "| prompt | pair | seed | retrieved | " + " | ".join(COLUMNS.values()) + " | s |",
        "|---" * (len(COLUMNS) + 5) + "|",
    ]
    scored = [c for c in cells if c["metrics"]]
    for c in cells:
        m = c["metrics"]
        if m is None:
            lines.append(f"| {c['prompt']} | {PROMPTS[c['prompt']]} | {c['seed']} | no mesh |" + " |" * (len(COLUMNS) + 1))
            continue
        found = "yes" if m["geometric_retrieval"] else f"no: {m['best_class']}"
        values = " | ".join(f"{m[key]:.3f}" for key in COLUMNS)
        lines.append(f"| {c['prompt']} | {PROMPTS[c['prompt']]} | {c['seed']} | {found} | {values} | {c['seconds']:.0f} |")
    if not scored:
        return "\n".join(lines)
    means = " | ".join(f"{mean(c['metrics'][key] for c in scored):.3f}" for key in COLUMNS)
    lines.append(f"| **mean** | | | | {means} | {mean(c['seconds'] for c in scored):.0f} |")
    retrieved = sum(c["metrics"]["geometric_retrieval"] for c in scored) / len(cells)
    non_convex = [c["metrics"]["skill"] for c in scored if not c["metrics"]["convex"]]
    lines += [
        "",
        f"- geometric retrieval: {retrieved:.0%} of {len(cells)} runs",
        f"- mean silhouette IoU: {mean(c['metrics']['silhouette_iou'] for c in scored):.3f}",
        f"- mean skill over non-convex classes: {mean(non_convex):+.3f}" if non_convex else "",
        f"- mean albedo error: {mean(c['metrics']['albedo_error'] for c in scored):.3f}",
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run what is missing and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2, help="runs at the same time, each on its share of the cores")
    parser.add_argument("--out", type=Path, default=Path("runs/bars"))
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    threads = max(1, (os.cpu_count() or 1) // arguments.jobs)
    grid = [(prompt, seed) for seed in SEEDS for prompt in PROMPTS]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        cells = list(pool.map(lambda key: cell(*key, arguments.out.resolve(), threads, arguments.overrides), grid))
    cells.sort(key=lambda c: (list(PROMPTS).index(c["prompt"]), c["seed"]))
    header = (
        "# The quickstart against the exact truth\n\n"
        f"Made by `benchmarks/quickstart_bars.py` on {os.cpu_count()} cores ({platform.machine()}), {arguments.jobs} at a time.\n"
        "Defined in [toy world](../toyworld.md). IoU is the mean silhouette IoU of the exported mesh over 24 views; ellipsoid\n"
        "is the truth's bounding ellipsoid; constant colour and grey are what painting everything in one colour scores."
    )
    text = table(cells, header)
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    TABLE.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
