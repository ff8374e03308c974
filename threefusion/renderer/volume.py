"""Volume rendering of implicit geometries."""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from threefusion.background.background import Background
from threefusion.errors import UserError
from threefusion.geometry.geometry import Geometry, ImplicitGeometry
from threefusion.geometry.normals import downhill
from threefusion.machine.memory import retry_on_oom
from threefusion.material.material import Material
from threefusion.ops.composite import packed_weights, weighted_sums
from threefusion.registry import build, register
from threefusion.renderer.chunk import Chunk
from threefusion.renderer.cone import cone_gaussian
from threefusion.renderer.pruning import VisibilityPruning
from threefusion.renderer.recompute import recomputed
from threefusion.renderer.renderer import Renderer
from threefusion.renderer.settings import VolumeConfig
from threefusion.types import Lights, Rays, RaySamples, RenderedSamples, RenderOutput, ViewBatch, send

_SEEN = 0.01
"""Opacity from which a pixel has a normal."""


@register("volume")
class Volume(Renderer):
    """Emission and absorption along one ray per pixel; colours over the background by what transparency is left."""

    def __init__(self, cfg: VolumeConfig, geometry: Geometry, material: Material, background: Background) -> None:
        super().__init__(geometry, material, background)
        if not isinstance(geometry, ImplicitGeometry):
            name = getattr(geometry, "registered_name", type(geometry).__name__)
            raise UserError(f"renderer: 'volume' needs a geometry that fills space, and {name!r} does not. Did you mean 'image'?")
        self.cfg = cfg
        self.sampler = build(cfg.sampler, geometry)
        self.pruning = VisibilityPruning(cfg.prune_below)
        self.samples = Chunk("renderer.samples_per_chunk", cfg.samples_per_chunk, floor=1024)
        self.rays = Chunk("renderer.rays_per_chunk", cfg.rays_per_chunk, floor=64)

    def turn_round(self) -> None:
        """Turn the scene, and what the sampler knows of it, by half a turn about the vertical axis."""
        super().turn_round()
        self.sampler.turn_round()

    def on_step(self, step: int, generator: torch.Generator) -> None:
        """Let the scene, then the sampler that looks at it, follow the step."""
        super().on_step(step, generator)
        self.sampler.on_step(step, generator)
        self.pruning.on_step(step)

    def forward(self, batch: ViewBatch, normals: bool = False) -> RenderOutput:
        """Images of the views; `samples`, which only losses read, are given with the normals while gradients are recorded.

        In evaluation, memory that does not suffice halves the rays looked at together; in training see `spare_memory`.
        """
        if self.training:
            return self._images(batch, normals)
        advice = "Ask for smaller pictures: output.image_size, output.turntable_size, --size"
        return retry_on_oom(lambda: self._images(batch, normals), lambda: self.rays.halve(advice))

    def spare_memory(self) -> None:
        """Halve the samples looked at together: training keeps one chunk's activations."""
        self.samples.halve("Lower camera.batch_size, camera.height and camera.width, or renderer.sampler.samples_per_ray")

    def _images(self, batch: ViewBatch, normals: bool) -> RenderOutput:
        rays = batch.camera.rays()
        normals = normals or self.material.needs_normal(batch.shading)
        total = len(rays.origins)
        self.rays.present = total
        chunk = total if self.training else self.rays.size
        parts = [self._pixels(_part(rays, start, start + chunk), batch, normals) for start in range(0, total, chunk)]
        pixels = torch.cat([values for values, _ in parts])
        pixels = pixels.reshape(len(batch), batch.camera.height, batch.camera.width, -1)
        return RenderOutput(
            image=pixels[..., :3],
            opacity=pixels[..., 3:4],
            depth=pixels[..., 4:5],
            normal=pixels[..., 5:] if normals else None,
            samples=_join([seen for _, seen in parts]) if normals and torch.is_grad_enabled() else None,
        )

    def _pixels(self, rays: Rays, batch: ViewBatch, normals: bool) -> tuple[Tensor, RenderedSamples | None]:
        """Image, opacity, depth and, if asked for, normal of each ray side by side; and what was seen on the way."""
        samples = self._prune(rays, self.sampler(rays, batch))
        ray_index, count = samples.ray_index, len(rays.origins)
        density, color, normal = self._look(rays, samples, batch, normals).split([1, 3, 3 * normals], -1)
        weights = packed_weights(density[:, 0] * (samples.t_end - samples.t_start), ray_index, count)
        if not self.pruning.active:
            self.pruning.observe(weights)
        channels = torch.cat([color, torch.ones_like(density), samples.t_mid[:, None], normal], -1)
        seen = weighted_sums(weights, channels, ray_index, count)
        image = seen[:, :3] + (1 - seen[:, 3:4]) * self.background(rays.directions, rays.view_index, batch)
        pixels = torch.cat([image, seen[:, 3:5]], -1)
        if not normals:
            return pixels, None
        # where next to nothing is seen, the mean normal is noise
        pixels = torch.cat([pixels, -downhill(seen[:, 5:]) * (seen[:, 3:4] > _SEEN)], -1)
        of_sample = _at(rays, ray_index)
        return pixels, RenderedSamples(weights, normal, of_sample.directions, of_sample.view_index)

    def _look(self, rays: Rays, samples: RaySamples, batch: ViewBatch, normals: bool) -> Tensor:
        """Density, colour and, if asked for, normal of each sample side by side, so many samples at a time."""
        self.samples.present, size = len(samples.t_start), self.samples.size
        parts = [_stretch(samples, start, start + size) for start in range(0, max(len(samples.t_start), 1), size)]
        if len(parts) == 1 or not torch.is_grad_enabled():
            return torch.cat([self._look_at(rays, part, batch, normals) for part in parts])
        looks = [partial(self._look_at, rays, part, batch, normals) for part in parts]
        return torch.cat([recomputed(look, self.geometry, self.material) for look in looks])

    def _look_at(self, rays: Rays, samples: RaySamples, batch: ViewBatch, normals: bool) -> Tensor:
        of_sample = _at(rays, samples.ray_index)
        points, covariance = self._places(of_sample, samples)
        field = self.geometry(points, normals, covariance)
        if normals and field.normal is None:
            raise UserError("this geometry gives no normals: set camera.lit_probability to 0 and leave out losses that need them")
        view_index, light = of_sample.view_index, batch.light
        light = Lights(*(value.index_select(0, view_index) for value in (light.position, light.color, light.ambient)))
        color = self.material(
            field, of_sample.directions, light, send(batch.shading, view_index.device).index_select(0, view_index)
        )
        return torch.cat([field.density, color, field.normal] if normals else [field.density, color], -1)

    def _places(self, of_sample: Rays, samples: RaySamples) -> tuple[Tensor, Tensor | None]:
        """Where each sample asks the geometry, and the covariance of its part of the cone if the geometry reads it."""
        origins, directions = of_sample.origins, of_sample.directions
        if not self.geometry.needs_covariance:
            return origins + directions * samples.t_mid[:, None], None
        mean, covariance = cone_gaussian(directions, of_sample.radii, samples.t_start, samples.t_end)
        return origins + directions * mean[:, None], covariance

    @torch.no_grad()
    def _prune(self, rays: Rays, samples: RaySamples) -> RaySamples:
        """The samples that weigh enough to matter, by a look at the density alone."""
        if not self.pruning.active:
            return samples
        points, covariance = self._places(_at(rays, samples.ray_index), samples)
        density = self.geometry.density(points) if covariance is None else self.geometry(points, False, covariance).density
        weights = packed_weights(density[:, 0] * (samples.t_end - samples.t_start), samples.ray_index, len(rays.origins))
        self.pruning.observe(weights)
        kept = (weights >= self.cfg.prune_below).nonzero()[:, 0]
        return RaySamples(samples.t_start[kept], samples.t_end[kept], samples.ray_index[kept])


def _at(rays: Rays, ray_index: Tensor) -> Rays:
    """The ray of each sample."""
    # index_select: several times as fast as an index in brackets
    return Rays(*(value.index_select(0, ray_index) for value in (rays.origins, rays.directions, rays.radii, rays.view_index)))


def _stretch(samples: RaySamples, start: int, end: int) -> RaySamples:
    return RaySamples(samples.t_start[start:end], samples.t_end[start:end], samples.ray_index[start:end])


def _part(rays: Rays, start: int, end: int) -> Rays:
    return Rays(rays.origins[start:end], rays.directions[start:end], rays.radii[start:end], rays.view_index[start:end])


def _join(parts: list[RenderedSamples]) -> RenderedSamples:
    columns = zip(*((part.weights, part.normal, part.direction, part.view_index) for part in parts), strict=True)
    return RenderedSamples(*(torch.cat(column) for column in columns))
