"""Volume rendering: of density fields, and the base of renderers of signed distances."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.camera.projection import camera_rays
from threefusion.errors import UserError
from threefusion.geometry.geometry import Geometry, HasDensity, HasDistance
from threefusion.geometry.normals import downhill
from threefusion.machine.memory import retry_on_oom
from threefusion.ops.composite import packed_weights, weighted_sums
from threefusion.registry import build
from threefusion.renderer.memory import Chunk, recomputed
from threefusion.renderer.pruning import VisibilityPruning
from threefusion.renderer.renderer import MIN_NORMAL_OPACITY, Renderer
from threefusion.renderer.samples import cone_gaussian, join, rays_of, split_rays, split_samples
from threefusion.renderer.settings import VolumeConfig
from threefusion.renderer.shading import shade
from threefusion.types import FieldSample, Rays, RaySamples, RenderedSamples, RenderOutput, Scene, ViewBatch, Want

NEARBY = 0.01
"""Standard deviation of the offset of a point nearby, in radii of the scene (threestudio's is 0.01 scene units)."""


class Volume(Renderer):
    """Emission and absorption along one ray per pixel, composited over the background.

    Subclasses decide how thick each sample is: `thickness`, `probe` and `density` belong together.
    """

    needs: ClassVar[type[Geometry]] = HasDensity
    reads_gradient: ClassVar[bool] = False
    """Whether `thickness` reads the gradient of the signed distance."""

    def __init__(self, cfg: VolumeConfig) -> None:
        super().__init__(cfg)
        self.sampler = build(cfg.sampler)
        self.pruning = VisibilityPruning(cfg.prune_below)
        self.samples = Chunk("renderer.samples_per_chunk", cfg.samples_per_chunk, floor=1024)

    def update(self, scene: Scene, step: int, generator: torch.Generator) -> None:
        """Let the sampler follow the density, and decide about pruning."""
        self.sampler.update(partial(self.density, scene.geometry), scene.geometry.radius, step, generator)
        self.pruning.update(step)

    def density(self, geometry: Geometry, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 1"]:
        """Density by which the sampler finds empty space; without gradients."""
        return geometry.density(points)

    def thickness(self, field: FieldSample, directions: Float[Tensor, "N 3"], length: Float[Tensor, "N"]) -> Float[Tensor, "N"]:
        """Optical thickness of samples of this length, whose rays travel along `directions`; opacity is 1 - exp(-thickness)."""
        return field.density[:, 0] * length

    def probe(
        self, geometry: Geometry, points: Tensor, covariance: Tensor | None, directions: Tensor, length: Tensor
    ) -> Float[Tensor, "N"]:
        """Optical thickness of samples as cheaply as it can be had, for pruning; without gradients."""
        return geometry.density(points, covariance)[:, 0] * length

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
        width = scene.material.channels
        return RenderOutput(
            image=pixels[..., :width],
            opacity=pixels[..., width : width + 1],
            depth=pixels[..., width + 1 : width + 2],
            normal=pixels[..., width + 2 :] if want.normals else None,
            samples=join([samples for _, samples, _ in parts], size) if want.samples else None,
            visible_share=parts[0][2],
        )

    def _pixels(
        self, scene: Scene, rays: Rays, views: ViewBatch, want: Want
    ) -> tuple[Tensor, RenderedSamples | None, Tensor | None]:
        """Image, opacity, depth and, if wanted, normal of each ray side by side; its samples if wanted; their visible share."""
        samples, visible_share = self._prune(scene.geometry, rays, self.sampler(scene.geometry.radius, rays, views, want.random))
        ray_index, count = samples.ray_index, len(rays.origins)
        thickness, color, normal, gradient, nearby = self._query_field(scene, rays, samples, views, want)
        weights = packed_weights(thickness[:, 0], ray_index, count)
        if not self.pruning.is_active():
            visible_share = self.pruning.measure(weights)
        channels = torch.cat([color, torch.ones_like(thickness), samples.t_mid[:, None], normal], -1)
        sums = weighted_sums(weights, channels, ray_index, count)
        width = scene.material.channels
        opacity = sums[:, width : width + 1]
        behind = scene.material.behind(scene.background(rays.directions, rays.view_index, views, want.random))
        image = sums[:, :width] + (1 - opacity) * behind
        pixels = torch.cat([image, sums[:, width : width + 2]], -1)
        if want.normals:
            pixels = torch.cat([pixels, -downhill(sums[:, width + 2 :]) * (opacity > MIN_NORMAL_OPACITY)], -1)
        if not want.samples:
            return pixels, None, visible_share
        of_sample = rays_of(rays, ray_index)
        normal, gradient, nearby = (value if value.shape[1] else None for value in (normal, gradient, nearby))
        where = (of_sample.directions, of_sample.view_index, ray_index, samples.t_mid, count)
        return pixels, RenderedSamples(weights, normal, *where, gradient, nearby), visible_share

    def _query_field(self, scene: Scene, rays: Rays, samples: RaySamples, views: ViewBatch, want: Want) -> tuple[Tensor, ...]:
        """Thickness, colour, normal, gradient of the distance and normal nearby of each sample, one chunk of samples at a time.

        What is not requested has no columns.
        """
        parts = split_samples(samples, self.samples.size)
        queries = [partial(self._query_chunk, scene, rays, part, views, want) for part in parts]
        if len(parts) == 1 or not torch.is_grad_enabled():
            columns = torch.cat([query() for query in queries])
        else:
            columns = torch.cat([recomputed(query, scene.geometry, scene.material, self) for query in queries])
        gradient = want.normals and want.samples and issubclass(self.needs, HasDistance)
        return columns.split([1, scene.material.channels, 3 * want.normals, 3 * gradient, 3 * (want.samples and want.nearby)], -1)

    def _query_chunk(self, scene: Scene, rays: Rays, samples: RaySamples, views: ViewBatch, want: Want) -> Tensor:
        of_sample = rays_of(rays, samples.ray_index)
        points, covariance = _sample_positions(scene.geometry, of_sample, samples)
        field = scene.geometry(points, want.normals or self.reads_gradient, covariance)
        if want.normals and field.normal is None:
            raise UserError("this geometry gives no normals: set camera.lit_probability to 0 and leave out losses that need them")
        color = shade(scene, field, of_sample.directions, of_sample.view_index, views)
        columns = [self.thickness(field, of_sample.directions, samples.t_end - samples.t_start)[:, None], color]
        if want.normals:
            columns.append(field.normal)
        if want.normals and want.samples and issubclass(self.needs, HasDistance):
            columns.append(field.gradient)
        if want.samples and want.nearby:
            near = (
                NEARBY * scene.geometry.radius * views.randn("nearby", views.camera.height * views.camera.width, 3).flatten(0, 1)
            )
            columns.append(scene.geometry(points + near.index_select(0, samples.ray_index), True, covariance).normal)
        return torch.cat(columns, -1)

    def _prune(self, geometry: Geometry, rays: Rays, samples: RaySamples) -> tuple[RaySamples, Tensor | None]:
        """The samples that are visible, by their thickness alone, and their share; all samples where pruning does not pay."""
        if not self.pruning.is_active():
            return samples, None
        with torch.no_grad():
            of_sample = rays_of(rays, samples.ray_index)
            points, covariance = _sample_positions(geometry, of_sample, samples)
            thickness = self.probe(geometry, points, covariance, of_sample.directions, samples.t_end - samples.t_start)
            weights = packed_weights(thickness, samples.ray_index, len(rays.origins))
        kept = (weights >= self.cfg.prune_below).nonzero()[:, 0]
        pruned = RaySamples(samples.t_start[kept], samples.t_end[kept], samples.ray_index[kept])
        return pruned, self.pruning.measure(weights)


def _sample_positions(geometry: Geometry, of_sample: Rays, samples: RaySamples) -> tuple[Tensor, Tensor | None]:
    """Where the geometry is evaluated for each sample, and the covariance of its part of the cone if the geometry reads it."""
    origins, directions = of_sample.origins, of_sample.directions
    if not geometry.needs_covariance:
        return origins + directions * samples.t_mid[:, None], None
    mean, covariance = cone_gaussian(directions, of_sample.radii, samples.t_start, samples.t_end)
    return origins + directions * mean[:, None], covariance
