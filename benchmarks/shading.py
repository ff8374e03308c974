"""Checks the material `pbr` against plain Monte Carlo integration, and recovers materials from renders.

    python -m benchmarks.shading
    python -m benchmarks.shading --picture docs/images/materials.png

Prints (1) a white furnace: the radiance of white surfaces under an environment of radiance 1, by the split sum and by integrating
the BRDF over the hemisphere; (2) spheres under the environments, against importance sampling of the same BRDF under the same
panorama; (3) roughness and metallic of spheres, recovered from renders alone. With --picture, it draws the spheres of the
documentation instead.
"""

from __future__ import annotations

import argparse
from math import pi
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample, normalize

from threefusion.callback.images import write_png
from threefusion.machine.process import prepare_process
from threefusion.material.environment import panorama
from threefusion.material.microfacet import specular_lobe
from threefusion.material.pbr import Pbr, Surface
from threefusion.material.settings import PbrConfig
from threefusion.ops.color import encode_srgb, shoulder
from threefusion.registry import build
from threefusion.types import FieldSample, Lights, Shading

ROUGHNESSES = (0.08, 0.2, 0.4, 0.6, 0.8, 1.0)
GOLD, RED, WHITE = (1.0, 0.88, 0.66), (0.9, 0.35, 0.3), (1.0, 1.0, 1.0)
RED_PAINT = (0.9, 0.1, 0.1)
"""sRGB-encoded."""
SPHERE = 0.98
"""Squared radius up to which a sphere is drawn: at its rim a pixel has all directions."""


def material(environment: str) -> Pbr:
    """The material under an environment of mean radiance 1 alone, without perturbed normals."""
    return build(PbrConfig(environment=environment, environment_intensity=1.0, point_intensity=0.0, normal_strength=0.0))


def surface(color: tuple[float, float, float], metallic: float, roughness: float, count: int) -> Surface:
    """The same surface at every point."""
    one = torch.ones(count, 1)
    return Surface(torch.tensor(color).expand(count, 3), metallic * one, roughness * one)


def sphere(size: int) -> Float[Tensor, "N 3"]:
    """Normals of a sphere in the pixels of an orthographic image, seen from +x."""
    axis = (torch.arange(size) + 0.5) / size * 2 - 1
    z, y = torch.meshgrid(-axis, axis, indexing="ij")
    inside = y.square() + z.square() < SPHERE
    y, z = y[inside], z[inside]
    return torch.stack([(1 - y.square() - z.square()).sqrt(), y, z], -1)


def seen_from(direction: Tensor, normal: Tensor) -> tuple[FieldSample, Lights]:
    """Points with these normals, seen along `direction`, without a point light."""
    nothing = torch.zeros(len(normal), 3)
    sample = FieldSample(torch.zeros(len(normal), 5), normal=normal, points=normal, direction=direction.expand(len(normal), 3))
    return sample, Lights(2 * normal, nothing, nothing)


def hemisphere(count: int) -> Float[Tensor, "M 3"]:
    """Directions distributed as the cosine over the hemisphere about +z, on a Sobol sequence."""
    u = torch.quasirandom.SobolEngine(2).draw(count).clamp(1e-6, 1 - 1e-6)
    radius, turn = u[:, :1].sqrt(), 2 * pi * u[:, 1:]
    return torch.cat([radius * turn.cos(), radius * turn.sin(), (1 - u[:, :1]).sqrt()], -1)


def furnace(of: Surface, n_dot_v: float, shader: Pbr, count: int = 1 << 16) -> tuple[float, float]:
    """The radiance of one surface under light of radiance 1: by the split sum, and by integrating the BRDF."""
    normal = torch.tensor([[0.0, 0.0, 1.0]])
    view = torch.tensor([[(1 - n_dot_v**2) ** 0.5, 0.0, n_dot_v]])
    split = shader.radiance(of, normal, *seen_from(-view, normal))
    towards, weight = specular_and_cosine(normal, view, of.roughness, count)
    reflectance = shader.reflectance(of, specular_lobe(shader.lobes, torch.tensor([[n_dot_v]]), of.roughness))
    values = shader.brdf(of, reflectance, normal.expand_as(towards), view.expand_as(towards), towards) * weight
    return split.mean().item(), values.mean(-1).sum().item()


def frames(normal: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3 3"]:
    """Orthonormal columns whose last is the normal."""
    side = torch.where(normal[:, 2:].abs() < 0.9, torch.tensor([0.0, 0.0, 1.0]), torch.tensor([1.0, 0.0, 0.0]))
    tangent = normalize(torch.linalg.cross(side, normal), dim=-1)
    return torch.stack([tangent, torch.linalg.cross(normal, tangent), normal], -1)


def specular_and_cosine(normal: Tensor, view: Tensor, roughness: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Directions of light at one point, half of them by the cosine and half by GGX's lobe, and their weights.

    A weight is (n.l) over `count` times the density of the mixture.
    """
    frame, alpha2 = frames(normal)[0], roughness.item() ** 4
    u = torch.quasirandom.SobolEngine(2).draw(count // 2).clamp(1e-4, 1 - 1e-4)
    cosine = ((1 - u[:, :1]) / (1 + (alpha2 - 1) * u[:, :1])).sqrt()
    sine, turn = (1 - cosine.square()).clamp_min(0).sqrt(), 2 * pi * u[:, 1:]
    half = torch.cat([sine * turn.cos(), sine * turn.sin(), cosine], -1) @ frame.mT
    mirrored = 2 * (half * view).sum(-1, keepdim=True) * half - view
    towards = torch.cat([mirrored, hemisphere(count - count // 2) @ frame.mT])
    half = normalize(towards + view, dim=-1)
    n_dot_l, n_dot_h = (towards * normal).sum(-1, keepdim=True), (half * normal).sum(-1, keepdim=True)
    lobe = alpha2 / (pi * (n_dot_h.square() * (alpha2 - 1) + 1).square())
    density = 0.5 * lobe * n_dot_h / (4 * (half * view).sum(-1, keepdim=True).clamp_min(1e-6)) + 0.5 * n_dot_l.clamp_min(0) / pi
    return towards, n_dot_l.clamp_min(0) / density.clamp_min(1e-12) / count


def look_up(name: str, directions: Float[Tensor, "M 3"]) -> Float[Tensor, "M 3"]:
    """Radiance of a panorama, linear between its texels."""
    image = panorama(name)
    image = torch.cat([image[:, -1:], image, image[:, :1]], 1).permute(2, 0, 1)[None]
    height = image.shape[2]
    column = torch.atan2(directions[:, 1], directions[:, 0]) % (2 * pi) * (height / pi) + 1
    row = directions[:, 2].clamp(-1, 1).acos() * (height / pi)
    grid = torch.stack([column / (height + 1) - 1, 2 * row / height - 1], -1)[None, None]
    return grid_sample(image, grid, align_corners=False, padding_mode="border")[0, :, 0].mT


def twin(
    name: str, of: Surface, normal: Float[Tensor, "N 3"], view: Float[Tensor, "1 3"], shader: Pbr, count: int = 4096
) -> Tensor:
    """The radiance of every point by Monte Carlo integration, one point after the other."""
    shown = []
    for i in range(len(normal)):
        one = Surface(of.base_color[i : i + 1], of.metallic[i : i + 1], of.roughness[i : i + 1])
        reflectance = shader.reflectance(one, specular_lobe(shader.lobes, normal[i : i + 1] @ view.mT, one.roughness))
        towards, weight = specular_and_cosine(normal[i : i + 1], view, one.roughness, count)
        values = shader.brdf(one, reflectance, normal[i].expand_as(towards), view.expand_as(towards), towards)
        shown.append((values * weight * look_up(name, towards)).sum(0))
    return torch.stack(shown)


def difference(name: str, color: tuple[float, float, float], metallic: float, roughness: float, size: int = 24) -> float:
    """Mean absolute difference of a sphere from its twin, as a share of the twin's mean."""
    shader, normal, view = material(name), sphere(size), torch.tensor([[1.0, 0.0, 0.0]])
    of = surface(color, metallic, roughness, len(normal))
    fast = shader.radiance(of, normal, *seen_from(-view, normal))
    slow = twin(name, of, normal, view, shader)
    return ((fast - slow).abs().mean() / slow.mean()).item()


def recovered(metallic: float, roughness: float, steps: int = 150, seed: int = 0) -> tuple[float, float]:
    """Metallic and roughness fitted to images of a sphere: base colour and both are unknown, the lights are known.

    Eight views around the sphere, each with a point light of its own and the studio turned by its own angle.
    """
    shader = build(PbrConfig(normal_strength=0.0))
    generator = torch.Generator().manual_seed(seed)
    views = normalize(torch.randn(8, 3, generator=generator), dim=-1)
    every = normalize(torch.randn(1500, 3, generator=generator), dim=-1)
    view_index, point_index = ((views @ every.mT) > 0.05).nonzero().unbind(1)
    normal, count = every[point_index], len(view_index)
    lamps = 2 * normalize(views + 0.7 * torch.randn(8, 3, generator=generator), dim=-1)
    light = Lights(lamps[view_index], torch.full((count, 3), 0.9), torch.full((count, 3), 0.1), view_index * (pi / 4))
    lit = torch.full((count,), int(Shading.LIT))

    def shown(features: Tensor) -> Tensor:
        sample = FieldSample(features.expand(count, 5), normal=normal, points=normal, direction=-views[view_index])
        return shader(sample, light, lit)

    share = (roughness - shader.cfg.min_roughness) / (1 - shader.cfg.min_roughness)
    goal = torch.logit(torch.tensor([[0.85, 0.5, 0.3, metallic, share]]).clamp(1e-3, 1 - 1e-3))
    goal[:, 3] += 2  # the material's offset of metallic
    with torch.no_grad():
        target = shown(goal)
    features = torch.zeros(1, 5, requires_grad=True)
    optimizer = torch.optim.Adam([features], lr=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        (shown(features) - target).abs().mean().backward()
        optimizer.step()
    fitted = shader.surface(features.detach())
    return fitted.metallic.item(), fitted.roughness.item()


def picture(size: int = 90, oversampling: int = 3) -> Float[Tensor, "H W 3"]:
    """A row of spheres per environment and surface, from smooth to rough, over white."""
    fine, direction = size * oversampling, torch.tensor([[-1.0, 0.0, 0.0]])
    normal = sphere(fine)
    axis = (torch.arange(fine) + 0.5) / fine * 2 - 1
    inside = axis.square()[:, None] + axis.square() < SPHERE
    rows = []
    for name in ("studio", "sky"):
        for color, metallic in ((RED_PAINT, 0.0), (GOLD, 1.0)):
            image = torch.ones(fine, len(ROUGHNESSES), fine, 3)
            for column, roughness in enumerate(ROUGHNESSES):
                of = surface(color, metallic, roughness, len(normal))
                radiance = material(name).radiance(of, normal, *seen_from(direction, normal))
                image[:, column][inside] = encode_srgb(shoulder(PbrConfig().environment_intensity * radiance))
            rows.append(image.view(size, oversampling, len(ROUGHNESSES) * size, oversampling, 3).mean((1, 3)))
    return torch.cat(rows)


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    prepare_process()
    if arguments.picture:
        write_png(arguments.picture, picture())
        return
    print("| white furnace, n.v | surface | split sum, BRDF | at roughness", *ROUGHNESSES)
    shader = material("constant")
    for name, metallic in (("metal", 1.0), ("dielectric", 0.0), ("half", 0.5)):
        for n_dot_v in (1.0, 0.5, 0.1):
            found = [furnace(surface(WHITE, metallic, rough, 1), n_dot_v, shader) for rough in ROUGHNESSES]
            print(f"| {n_dot_v} | {name} |", *(f"{split:.3f}, {integral:.3f} |" for split, integral in found))
    print("| sphere, mean difference from Monte Carlo in % of the mean | at roughness", *ROUGHNESSES)
    for name in ("studio", "sky"):
        for label, color, metallic in (("gold", GOLD, 1.0), ("red dielectric", RED, 0.0)):
            found = [100 * difference(name, color, metallic, rough) for rough in ROUGHNESSES]
            print(f"| {name}, {label} |", *(f"{value:.1f} |" for value in found), flush=True)
    errors = []
    print("| true metallic, roughness | recovered |")
    for metallic in (0.0, 0.5, 1.0):
        for roughness in (0.15, 0.4, 0.7, 0.95):
            found = recovered(metallic, roughness)
            errors.append((abs(found[0] - metallic), abs(found[1] - roughness)))
            print(f"| {metallic}, {roughness} | {found[0]:.3f}, {found[1]:.3f} |", flush=True)
    mean = torch.tensor(errors).mean(0).tolist()
    print(f"mean error: metallic {mean[0]:.3f}, roughness {mean[1]:.3f}")


if __name__ == "__main__":
    main()
