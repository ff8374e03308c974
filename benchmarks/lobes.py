"""Fits the lobes by which the material `pbr` reflects an environment to Monte Carlo integration.

    python -m benchmarks.lobes

Prints the constants of `threefusion.material.microfacet.fitted_lobes`. Each view of a metal sphere has a direction and a
roughness of its own. A panorama that is not trained on tells whether the constants hold elsewhere.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.shading import GOLD, frames, material, seen_from, sphere, surface, twin
from threefusion.machine.process import prepare_process
from threefusion.material import environment
from threefusion.material.microfacet import fitted_lobes, lobe_integrals
from threefusion.material.pbr import Pbr

PANORAMAS, HELD_OUT = ("studio", "sky", "windows 1"), "windows 2"
VIEWS, STEPS = 30, 5000


def windows(seed: int) -> environment.Panorama:
    """Nine random coloured windows in a grey room."""
    generator = torch.Generator().manual_seed(seed)
    place, size, color = (torch.rand(9, count, generator=generator) for count in (2, 2, 3))
    middle = (place * 2 - 1) * torch.tensor([180.0, 70.0])
    half = 8 + size * torch.tensor([25.0, 20.0])

    def radiance(directions: Tensor) -> Tensor:
        lights = (environment._window(directions, m, h) * (1 + 5 * c) for m, h, c in zip(middle, half, color, strict=True))
        return 0.3 + sum(lights)

    return radiance


def with_constants(shader: Pbr, constants: Float[Tensor, "10 6"]) -> Pbr:
    """The material with other lobes."""
    axis = torch.linspace(0, 1, shader.lobes.shape[-1])
    roughness, n_dot_v = torch.meshgrid(axis, axis, indexing="ij")
    shader.lobes = torch.cat([lobe_integrals(), fitted_lobes(n_dot_v, roughness, constants).movedim(-1, 0)])[None]
    return shader


def targets(name: str, seed: int) -> list[tuple]:
    """Surface, normals, view and radiance of spheres in random views, with roughness from 0.05 to 1."""
    generator, found = torch.Generator().manual_seed(seed), []
    for index in range(VIEWS):
        view = normalize(torch.randn(1, 3, generator=generator), dim=-1)
        roughness = 0.05 + 0.95 * (index + torch.rand((), generator=generator).item()) / VIEWS
        normal = sphere(12)[:, [1, 2, 0]] @ frames(view)[0].mT
        of = surface(GOLD, 1.0, roughness, len(normal))
        found.append((of, normal, view, twin(name, of, normal, view, material(name), 2048)))
    return found


def error(shader: Pbr, target: tuple) -> Float[Tensor, ""]:
    """Mean absolute difference, as a share of the mean."""
    of, normal, view, slow = target
    return (shader.radiance(of, normal, *seen_from(-view[0], normal)) - slow).abs().mean() / slow.mean()


def main() -> None:
    """Fit, and print the errors in percent and the constants."""
    prepare_process()
    environment.PANORAMAS |= {"windows 1": windows(1), "windows 2": windows(2)}
    data = {name: targets(name, seed) for seed, name in enumerate((*PANORAMAS, HELD_OUT))}
    shaders = {name: material(name) for name in data}
    constants = torch.zeros(10, 6)
    constants[0] = torch.tensor([0.5, 0.0, 0.0, 0.0, 2.0, 2.0])
    constants.requires_grad_()
    optimizer = torch.optim.Adam([constants], lr=0.02, betas=(0.9, 0.98))
    generator = torch.Generator().manual_seed(0)
    for step in range(STEPS):
        optimizer.param_groups[0]["lr"] = 0.02 * (1 - step / STEPS) + 0.0003
        name = PANORAMAS[step % 3]
        shader = with_constants(shaders[name], constants)
        chosen = torch.randperm(VIEWS, generator=generator)[:6].tolist()
        loss = sum(error(shader, data[name][index]) for index in chosen) / 6 + 2e-6 * constants.square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    rounded = (constants.detach() * 1000).round() / 1000
    for name, views in data.items():
        shader = with_constants(shaders[name], rounded)
        print(name, *(f"{100 * error(shader, view).item():.1f}" for view in views))
    print(*(f"    ({', '.join(f'{value:.3f}' for value in row)})," for row in rounded.tolist()), sep="\n")


if __name__ == "__main__":
    main()
