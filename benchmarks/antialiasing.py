"""Antialiasing: its gradient against a supersampled render, a scene fitted from silhouettes, and the time of a step.

    python -m benchmarks.antialiasing [--threads N] [--skip-fit]

Gradient: a row per mesh and size; median and largest relative error, in percent, of the derivatives of a weighted sum of
coverage in five directions (scale, shifts along the axes, a smooth field), against central differences of a hard render with
8 x 8 samples per pixel. Fit: intersection over union of silhouettes before and after. Time: milliseconds of processor time on one
grid, the minimum of seven: steps on coverage alone, then whole steps of the renderer with lit colours and normals, and what of
these the colour network (with its encoding) and the material take by themselves.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from dataclasses import replace
from math import pi

import torch
import trimesh
from torch import Tensor
from torch.nn.functional import avg_pool2d

from threefusion.background.settings import SolidConfig
from threefusion.background.solid import Solid
from threefusion.camera.orbit import orbit_views
from threefusion.camera.projection import clip_coordinates
from threefusion.config import Settings
from threefusion.geometry.encoding.settings import DenseGridConfig, HashGridConfig
from threefusion.geometry.geometry import BuildContext
from threefusion.geometry.settings import TetrahedraConfig
from threefusion.geometry.tetrahedra import Tetrahedra
from threefusion.geometry.tetrahedral_grid import bcc_grid
from threefusion.material.diffuse import Diffuse
from threefusion.material.settings import DiffuseConfig
from threefusion.ops.antialias import antialias, mesh_edges
from threefusion.ops.marching_tetrahedra import marching_tetrahedra
from threefusion.ops.rasterize import rasterize
from threefusion.renderer.rasterizer import Rasterizer, look
from threefusion.renderer.settings import RasterizerConfig
from threefusion.renderer.shading import shade
from threefusion.types import Cameras, FieldSample, Mesh, Scene, Shading, Want

SAMPLES = 8
DIFFERENCE = 1e-2
"""Step of the central differences, in scene units: smaller ones see single samples change."""
CELLS, VIEWS, FIT_SIZE, STEPS = 40, 24, 128, 150
REPEATS = 7
ENCODINGS: dict[str, Settings] = {"dense-grid": DenseGridConfig(levels=2), "hash-grid": HashGridConfig()}


def ball(subdivisions: int) -> Mesh:
    """A sphere."""
    return _mesh(trimesh.creation.icosphere(subdivisions, 0.6))


def ring(sections: int) -> Mesh:
    """A torus."""
    return _mesh(trimesh.creation.torus(0.5, 0.2, major_sections=2 * sections, minor_sections=sections))


def _mesh(made: trimesh.Trimesh) -> Mesh:
    return Mesh(torch.tensor(made.vertices).float(), torch.tensor(made.faces))


def camera(size: int, count: int = 1) -> Cameras:
    """Cameras round the object."""
    return orbit_views(count, 0.3, 2.0, 0.8, size, size).camera


def coverage(vertices: Tensor, faces: Tensor, cameras: Cameras) -> Tensor:
    """Antialiased silhouettes, [B H W 1]."""
    clip = clip_coordinates(vertices, cameras)
    fragments = rasterize(clip, faces, cameras.height, cameras.width)
    covered = (fragments.face >= 0).float()[..., None]
    return antialias(covered, fragments, clip, faces, mesh_edges(faces))


def supersampled(vertices: Tensor, faces: Tensor, cameras: Cameras) -> Tensor:
    """Silhouettes with SAMPLES² samples per pixel, [B H W 1]."""
    fine = replace(cameras, height=SAMPLES * cameras.height, width=SAMPLES * cameras.width)
    face = rasterize(clip_coordinates(vertices, fine), faces, fine.height, fine.width).face
    return avg_pool2d((face >= 0).float()[:, None], SAMPLES).permute(0, 2, 3, 1)


def gradient_errors(mesh: Mesh, size: int) -> list[float]:
    """Relative errors of the directional derivatives, in percent, in increasing order."""
    x, y = torch.meshgrid(*[torch.linspace(-1, 1, size)] * 2, indexing="xy")
    weights = (1 + x / 2 + y / 3 + x * y)[..., None]
    vertices = mesh.vertices.clone().requires_grad_()
    (weights * coverage(vertices, mesh.faces, camera(size))).sum().backward()
    shifts = torch.eye(3)[:, None].expand(3, len(vertices), 3)
    errors = []
    for direction in (mesh.vertices, *shifts, (3 * mesh.vertices).sin()):
        ahead, behind = (
            supersampled(mesh.vertices + sign * DIFFERENCE * direction, mesh.faces, camera(size)) for sign in (1, -1)
        )
        expected = (weights * (ahead - behind)).sum() / (2 * DIFFERENCE)
        errors.append(100 * abs(float((vertices.grad * direction).sum() / expected) - 1))
    return sorted(errors)


def three_lobes(points: Tensor) -> Tensor:
    """Signed distance, nearly, of a union of three balls."""
    angle = torch.tensor([0.0, 2 * pi / 3, 4 * pi / 3])
    centres = 0.4 * torch.stack([angle.cos(), angle.sin(), torch.tensor([0.15, -0.15, 0.0])], -1)
    return (points[:, None] - centres).norm(dim=-1).amin(1) - 0.33


def fit() -> tuple[float, float]:
    """Intersection over union of the silhouettes of all views, of the sphere to start from and of the scene fitted to them."""
    positions, tets = bcc_grid(CELLS)
    cameras = camera(FIT_SIZE, VIEWS)
    target = marching_tetrahedra(positions, three_lobes(positions), tets)
    with torch.no_grad():
        wanted = supersampled(target.vertices, target.faces, cameras)
    distance = (positions.norm(dim=-1) - 0.5).requires_grad_()
    optimizer = torch.optim.Adam([distance], lr=0.01)
    order = torch.Generator().manual_seed(0)
    before = _overlap(marching_tetrahedra(positions, distance.detach(), tets), wanted, cameras)
    for _ in range(STEPS):
        chosen = torch.randperm(VIEWS, generator=order)[:2]
        mesh = marching_tetrahedra(positions, distance, tets)
        loss = (coverage(mesh.vertices, mesh.faces, cameras.select(chosen)) - wanted[chosen]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return before, _overlap(marching_tetrahedra(positions, distance.detach(), tets), wanted, cameras)


def _overlap(mesh: Mesh, wanted: Tensor, cameras: Cameras) -> float:
    seen = rasterize(clip_coordinates(mesh.vertices, cameras), mesh.faces, FIT_SIZE, FIT_SIZE).face >= 0
    there = wanted[..., 0] > 0.5
    return float((seen & there).sum() / (seen | there).sum())


def step_times(size: int) -> dict[str, float]:
    """Milliseconds of marching tetrahedra, visibility, edges, antialiasing and a whole step, forward and backward."""
    positions, tets = bcc_grid(CELLS)
    start = positions.norm(dim=-1) - 0.62
    distance = start.clone().requires_grad_()
    mesh = marching_tetrahedra(positions, start, tets)
    cameras = camera(size)
    clip = clip_coordinates(mesh.vertices, cameras)
    fragments, edges = rasterize(clip, mesh.faces, size, size), mesh_edges(mesh.faces)
    covered = (fragments.face >= 0).float()[..., None]

    def step() -> None:
        made = marching_tetrahedra(positions, distance, tets)
        coverage(made.vertices, made.faces, cameras).square().sum().backward()

    work: dict[str, Callable[[], object]] = {
        "marching": lambda: marching_tetrahedra(positions, start, tets),
        "visibility": lambda: rasterize(clip, mesh.faces, size, size),
        "edges": lambda: mesh_edges(mesh.faces),
        "antialias": lambda: antialias(covered, fragments, clip, mesh.faces, edges),
        "step": step,
    }
    times = {name: min(_milliseconds(run) for _ in range(REPEATS)) for name, run in work.items()}
    return {"faces": len(mesh.faces), **times}


def shaded_times(size: int, encoding: str) -> dict[str, float]:
    """Milliseconds of a whole step of the rasterizer, and of its parts: marching, visibility, colour network and material."""
    cfg = TetrahedraConfig(radius=1.0, resolution=100, shape=[0.62] * 3, encoding=ENCODINGS[encoding])
    material = Diffuse(DiffuseConfig())
    scene = Scene(Tetrahedra(cfg, BuildContext(material.feature_width)), material, Solid(SolidConfig(random_probability=1.0)))
    renderer, views = Rasterizer(RasterizerConfig()), orbit_views(1, 0.3, 2.2, 0.8, size, size, Shading.LIT)
    mesh = scene.geometry.mesh()
    clip = clip_coordinates(mesh.vertices.detach(), views.camera)
    points = look(mesh, views.camera, False).points.detach().requires_grad_()
    features, normal = scene.geometry.features(points).detach().requires_grad_(), points.detach().clone().requires_grad_()
    index = torch.zeros(len(points), dtype=torch.int64)
    field = FieldSample(features, normal=normal, points=points)

    def step() -> None:
        render = renderer(scene, views, Want(normals=True, random=True))
        sum(part.square().sum() for part in (render.image, render.opacity, render.normal)).backward()

    work: dict[str, Callable[[], object]] = {
        "marching": scene.geometry.mesh,
        "visibility": lambda: rasterize(clip, mesh.faces, size, size),
        "network": lambda: scene.geometry.features(points).sum().backward(),
        "material": lambda: shade(scene, field, points.detach(), index, views).sum().backward(),
        "step": step,
    }
    times = {name: min(_milliseconds(run) for _ in range(REPEATS)) for name, run in work.items()}
    return {"faces": len(mesh.faces), **times}


def _milliseconds(run: Callable[[], object]) -> float:
    started = time.process_time()
    run()
    return 1000 * (time.process_time() - started)


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--skip-fit", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    meshes = {f"sphere {n}": ball(n) for n in (2, 3, 4, 5, 6)} | {f"torus {n}": ring(n) for n in (12, 45, 140)}
    print(f"{'mesh':10} {'faces':>6} {'size':>5} {'median %':>9} {'largest %':>9}")
    for name, mesh in meshes.items():
        for size in (64, 256):
            errors = gradient_errors(mesh, size)
            print(f"{name:10} {len(mesh.faces):6} {size:5} {errors[2]:9.2f} {errors[-1]:9.2f}", flush=True)
    for size in (64, 256, 512):
        times = step_times(size)
        ratio = times["step"] / (times["marching"] + times["visibility"])
        print(
            f"{size} px, {times.pop('faces')} faces: {', '.join(f'{k} {v:.1f}' for k, v in times.items())} ms; ratio {ratio:.2f}"
        )
    for encoding in ENCODINGS:
        times = shaded_times(512, encoding)
        base = times["marching"] + times["visibility"]
        rest = times["step"] - times["network"] - times["material"]
        print(
            f"512 px, {times.pop('faces')} faces, {encoding}: {', '.join(f'{k} {v:.1f}' for k, v in times.items())} ms; "
            f"ratio {times['step'] / base:.2f}, without network and material {rest / base:.2f}"
        )
    if not arguments.skip_fit:
        before, after = fit()
        print(f"fit from silhouettes: IoU {before:.3f} before, {after:.3f} after {STEPS} steps")


if __name__ == "__main__":
    main()
