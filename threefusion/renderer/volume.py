"""Volume rendering of density fields."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from threefusion.camera.projection import camera_rays
from threefusion.errors import UserError
from threefusion.geometry.geometry import Geometry, HasDensity
from threefusion.geometry.normals import downhill
from threefusion.machine.memory import retry_on_oom
from threefusion.ops.composite import packed_weights, weighted_sums
from threefusion.registry import build
from threefusion.renderer.memory import Chunk, recomputed
from threefusion.renderer.pruning import VisibilityPruning
from threefusion.renderer.renderer import Renderer
from threefusion.renderer.samples import cone_gaussian, join, rays_of, split_rays, split_samples
from threefusion.renderer.settings import VolumeConfig
from threefusion.renderer.shading import shade
from threefusion.types import Rays, RaySamples, RenderedSamples, RenderOutput, Scene, ViewBatch, Want

MIN_NORMAL_OPACITY = 0.01
"""Opacity above which a pixel has a normal: where almost nothing is hit, the mean normal is noise."""


class Volume(Renderer):
    """Emission and absorption along one ray per pixel, composited over the background."""

    needs: ClassVar[type[Geometry]] = HasDensity

    def __init__(self, cfg: VolumeConfig) -> None:
        super().__init__(cfg)
        self.sampler = build(cfg.sampler)
        self.pruning = VisibilityPruning(cfg.prune_below)
        self.samples = Chunk("renderer.samples_per_chunk", cfg.samples_per_chunk, floor=1024)

    def update(self, scene: Scene, step: int, generator: torch.Generator) -> None:
        """Let the sampler follow the density, and decide about pruning."""
        self.sampler.update(scene.geometry, step, generator)
        self.pruning.update(step)

    def after_step(self, render: RenderOutput, step: int) -> None:
        """Remember the share of visible samples."""
        self.pruning.observe(render.visible_share)

    def reduce_memory(self) -> None:
        """Halve the samples that are processed together: training keeps one chunk's activations."""
        self.samples.halve("Lower camera.batch_size, camera.height and camera.width, or renderer.sampler.samples_per_ray")

    def render(self, scene: Scene, views: ViewBatch, want: Want) -> RenderOutput:
        """Images of the views.

        Without gradients and random numbers the rays are rendered in chunks, halved if the memory does not suffice; with
        gradients see `reduce_memory`.
        """
        rays = camera_rays(views.camera)
        want = replace(want, normals=want.normals or scene.material.needs_normal(views.shading))
        if torch.is_grad_enabled() or want.random:
            return self._render_chunks(scene, rays, views, want, len(rays.origins))
        chunk = Chunk("renderer.rays_per_chunk", min(self.cfg.rays_per_chunk, len(rays.origins)), floor=64)
        return retry_on_oom(
            lambda: self._render_chunks(scene, rays, views, want, chunk.size),
            lambda: chunk.halve("Render smaller images: output.image_size, output.turntable_size, --size"),
        )

    def _render_chunks(self, scene: Scene, rays: Rays, views: ViewBatch, want: Want, size: int) -> RenderOutput:
        parts = [self._pixels(scene, part, views, want) for part in split_rays(rays, size)]
        pixels = torch.cat([pixels for pixels, _, _ in parts])
        pixels = pixels.reshape(len(views), views.camera.height, views.camera.width, -1)
        return RenderOutput(
            image=pixels[..., :3],
            opacity=pixels[..., 3:4],
            depth=pixels[..., 4:5],
            normal=pixels[..., 5:] if want.normals else None,
            samples=join([samples for _, samples, _ in parts]) if want.samples else None,
            visible_share=parts[0][2],
        )

    def _pixels(
        self, scene: Scene, rays: Rays, views: ViewBatch, want: Want
    ) -> tuple[Tensor, RenderedSamples | None, Tensor | None]:
        """Image, opacity, depth and, if wanted, normal of each ray side by side; its samples if wanted; their visible share."""
        samples, visible_share = self._prune(scene.geometry, rays, self.sampler(scene.geometry, rays, views, want.random))
        ray_index, count = samples.ray_index, len(rays.origins)
        density, color, normal = self._query_field(scene, rays, samples, views, want.normals).split([1, 3, 3 * want.normals], -1)
        weights = packed_weights(density[:, 0] * (samples.t_end - samples.t_start), ray_index, count)
        if not self.pruning.is_active():
            visible_share = self.pruning.measure(weights)
        channels = torch.cat([color, torch.ones_like(density), samples.t_mid[:, None], normal], -1)
        sums = weighted_sums(weights, channels, ray_index, count)
        opacity = sums[:, 3:4]
        image = sums[:, :3] + (1 - opacity) * scene.background(rays.directions, rays.view_index, views, want.random)
        pixels = torch.cat([image, sums[:, 3:5]], -1)
        if want.normals:
            pixels = torch.cat([pixels, -downhill(sums[:, 5:]) * (opacity > MIN_NORMAL_OPACITY)], -1)
        if not want.samples:
            return pixels, None, visible_share
        of_sample = rays_of(rays, ray_index)
        rendered = RenderedSamples(weights, normal if want.normals else None, of_sample.directions, of_sample.view_index)
        return pixels, rendered, visible_share

    def _query_field(self, scene: Scene, rays: Rays, samples: RaySamples, views: ViewBatch, normals: bool) -> Tensor:
        """Density, colour and, if requested, normal of each sample side by side, one chunk of samples at a time."""
        parts = split_samples(samples, self.samples.size)
        if len(parts) == 1 or not torch.is_grad_enabled():
            return torch.cat([self._query_chunk(scene, rays, part, views, normals) for part in parts])
        queries = [partial(self._query_chunk, scene, rays, part, views, normals) for part in parts]
        return torch.cat([recomputed(query, scene.geometry, scene.material) for query in queries])

    def _query_chunk(self, scene: Scene, rays: Rays, samples: RaySamples, views: ViewBatch, normals: bool) -> Tensor:
        of_sample = rays_of(rays, samples.ray_index)
        points, covariance = _sample_positions(scene.geometry, of_sample, samples)
        field = scene.geometry(points, normals, covariance)
        if normals and field.normal is None:
            raise UserError("this geometry gives no normals: set camera.lit_probability to 0 and leave out losses that need them")
        color = shade(scene.material, field, of_sample.directions, of_sample.view_index, views)
        return torch.cat([field.density, color, field.normal] if normals else [field.density, color], -1)

    def _prune(self, geometry: HasDensity, rays: Rays, samples: RaySamples) -> tuple[RaySamples, Tensor | None]:
        """The samples that are visible, by their density alone, and their share; all samples where pruning does not pay."""
        if not self.pruning.is_active():
            return samples, None
        with torch.no_grad():
            points, covariance = _sample_positions(geometry, rays_of(rays, samples.ray_index), samples)
            density = geometry.density(points, covariance)
            weights = packed_weights(density[:, 0] * (samples.t_end - samples.t_start), samples.ray_index, len(rays.origins))
        kept = (weights >= self.cfg.prune_below).nonzero()[:, 0]
        pruned = RaySamples(samples.t_start[kept], samples.t_end[kept], samples.ray_index[kept])
        return pruned, self.pruning.measure(weights)


def _sample_positions(geometry: HasDensity, of_sample: Rays, samples: RaySamples) -> tuple[Tensor, Tensor | None]:
    """Where the geometry is evaluated for each sample, and the covariance of its part of the cone if the geometry reads it."""
    origins, directions = of_sample.origins, of_sample.directions
    if not geometry.needs_covariance:
        return origins + directions * samples.t_mid[:, None], None
    mean, covariance = cone_gaussian(directions, of_sample.radii, samples.t_start, samples.t_end)
    return origins + directions * mean[:, None], covariance
