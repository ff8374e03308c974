"""Times the rasterizer on one thread: numba against torch, and against an earlier checkout.

    python benchmarks/rasterizer.py [--base CHECKOUT] [--repetitions 9]

A sphere that covers 65 % of the pixels. `forward` is `rasterize` with barycentric coordinates; `forward+backward` adds
`interpolate` of three channels and the gradients of clip coordinates and attributes. Every program is a process of its own; they
take turns after every call, and times are processor time, so that other load affects all alike. Reported are medians, and the
median of the ratios of calls that followed each other.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import product
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

ROOT = Path(__file__).parents[1]
SUBDIVISIONS = {"20k": 5, "80k": 6}
"""Faces -> subdivisions of the icosahedron."""
RESOLUTIONS = (64, 256, 512)
WORK = ("forward", "forward+backward")
DISTANCE, FOCAL = 3.2, 2.8
"""Of the camera, for a unit sphere; the focal length is in half image heights."""
NEAR, FAR = 0.1, 10.0


@lru_cache
def sphere(subdivisions: int) -> tuple[Tensor, Tensor]:
    """Clip coordinates `[1 V 4]` and faces of a unit sphere in front of the camera."""
    from trimesh.creation import icosphere

    mesh = icosphere(subdivisions)
    xyz = torch.tensor(mesh.vertices, dtype=torch.float32)
    w = DISTANCE - xyz[:, 2]
    z = (FAR + NEAR) / (FAR - NEAR) * w - 2 * FAR * NEAR / (FAR - NEAR)
    return torch.stack([FOCAL * xyz[:, 0], FOCAL * xyz[:, 1], z, w], -1)[None], torch.tensor(mesh.faces)


def call(faces: str, resolution: int, work: str) -> None:
    """One call of a case."""
    from threefusion.ops.rasterize import interpolate, rasterize

    clip, triangles = sphere(SUBDIVISIONS[faces])
    if work == "forward":
        with torch.no_grad():
            rasterize(clip, triangles, resolution, resolution)
        return
    clip = clip.clone().requires_grad_()
    attributes = clip.detach()[0, :, :3].clone().requires_grad_()
    interpolate(attributes, triangles, rasterize(clip, triangles, resolution, resolution)).sum().backward()


def work_off() -> None:
    """Run the cases named on standard input, one a line, and print the milliseconds of each."""
    torch.set_num_threads(1)
    for line in sys.stdin:
        faces, resolution, work = line.split()
        before = time.process_time()
        call(faces, int(resolution), work)
        print((time.process_time() - before) * 1000, flush=True)


@contextmanager
def worker(checkout: Path, backend: str) -> Iterator[subprocess.Popen]:
    """A process that runs cases with the package of `checkout`."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "THREEFUSION_OPS": backend, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, __file__, "--worker"]
    process = subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.stdin.close()
        process.wait()


def timed(process: subprocess.Popen, case: str) -> float:
    """Milliseconds of a case in a worker."""
    process.stdin.write(case + "\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def compare(base: Path | None, repetitions: int) -> None:
    """Print a row per case."""
    columns = ["faces", "pixels", "work", "numba ms", "torch ms", "torch / numba", *(["base ms", "base / numba"] if base else [])]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    with worker(ROOT, "numba") as fast, worker(ROOT, "torch") as plain, worker(base or ROOT, "numba") as earlier:
        for faces, resolution, work in product(SUBDIVISIONS, RESOLUTIONS, WORK):
            case = f"{faces} {resolution} {work}"
            workers = (fast, plain, earlier) if base else (fast, plain)
            # the first call compiles
            rounds = [[timed(process, case) for process in workers] for _ in range(repetitions + 1)][1:]
            ms = [median(times) for times in zip(*rounds, strict=True)]
            ratios = [median(times[i] / times[0] for times in rounds) for i in range(1, len(workers))]
            cells = [f"{value:.1f} | {ratio:.1f}" for value, ratio in zip(ms[1:], ratios, strict=True)]
            print(f"| {faces} | {resolution} | {work} | {ms[0]:.1f} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--base", type=Path, metavar="CHECKOUT", help="an earlier checkout of the repository")
    parser.add_argument("--repetitions", type=int, default=9)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work_off()
    else:
        compare(arguments.base, arguments.repetitions)


if __name__ == "__main__":
    main()
