"""The sphere from tetrahedra and from marching cubes: error of area and volume, closedness, time.

    python -m benchmarks.surfaces [--threads N]

A row per grid: number of samples, faces, errors of area and volume in percent, whether the surface is watertight, its Euler
characteristic, and the milliseconds (minimum of five) that the extraction took.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from math import pi

import torch

from threefusion.exporter.topology import is_watertight, signed_volume
from threefusion.geometry.isosurface import marching_cubes, sample_density
from threefusion.geometry.tetrahedral_grid import bcc_grid
from threefusion.ops.marching_tetrahedra import marching_tetrahedra
from threefusion.types import Mesh

RADIUS = 0.6
CELLS = (13, 26, 40, 51)
CUBES = (33, 65, 129)
REPEATS = 5


def tetrahedra(cells: int) -> tuple[int, Callable[[], Mesh]]:
    """Number of samples of a body-centred cubic grid, and what extracts the sphere from it."""
    positions, tets = bcc_grid(cells)
    distance = positions.norm(dim=-1) - RADIUS
    return len(positions), lambda: marching_tetrahedra(positions, distance, tets)


def cubes(resolution: int) -> tuple[int, Callable[[], Mesh]]:
    """Number of samples of a cubic lattice, and what extracts the sphere, the level 1 of a density, from it."""
    grid = sample_density(lambda points: (20 * (RADIUS - points.norm(dim=-1, keepdim=True))).exp(), 1.0, resolution)
    return resolution**3, lambda: marching_cubes(grid, 1.0)


def measure(name: str, samples: int, extract: Callable[[], Mesh]) -> str:
    """A row of the table."""
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        mesh = extract()
        times.append(1000 * (time.perf_counter() - started))
    a, b, c = mesh.vertices.double()[mesh.faces].unbind(1)
    area = float(torch.linalg.cross(b - a, c - a).norm(dim=-1).sum() / 2) / (4 * pi * RADIUS**2) - 1
    volume = signed_volume(mesh) / (4 / 3 * pi * RADIUS**3) - 1
    euler = len(mesh.vertices) - len(mesh.faces) // 2
    return (
        f"{name:18} {samples:9} {len(mesh.faces):8} {100 * area:8.2f} {100 * volume:8.2f} "
        f"{'yes' if is_watertight(mesh) else 'NO':>10} {euler:5} {min(times):8.1f}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    torch.set_num_threads(parser.parse_args().threads)
    print(f"{'grid':18} {'samples':>9} {'faces':>8} {'area %':>8} {'volume %':>8} {'watertight':>10} {'euler':>5} {'ms':>8}")
    for cells in CELLS:
        print(measure(f"tetrahedra {cells}", *tetrahedra(cells)))
    for resolution in CUBES:
        print(measure(f"marching cubes {resolution}", *cubes(resolution)))


if __name__ == "__main__":
    main()
