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
from threefusion.ops.composite import composite, packed_weights
from threefusion.registry import build
from threefusion.renderer.memory import Chunk, recomputed
from threefusion.renderer.pruning import VisibilityPruning
from threefusion.renderer.renderer import MIN_NORMAL_OPACITY, Renderer
from threefusion.renderer.samples import SampleRays, join, split_rays, split_samples
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

    def thickness(self, field: FieldSample, seen: SampleRays, length: Float[Tensor, "N"]) -> Float[Tensor, "N"]:
        """Optical thickness of samples of this length, on the rays `seen`; opacity is 1 - exp(-thickness)."""
        return field.density.squeeze(1) * length

    def probe(
        self, geometry: Geometry, points: Tensor, covariance: Tensor | None, seen: SampleRays, length: Tensor
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
        shape = (len(views), views.camera.height, views.camera.width, -1)
        columns = zip(*(pixels for pixels, _, _ in parts), strict=True)
        images = [(column[0] if len(parts) == 1 else torch.cat(column)).reshape(shape) for column in columns]
        return RenderOutput(
            *images,
            samples=join([samples for _, samples, _ in parts], size) if want.samples else None,
            visible_share=parts[0][2],
        )

    def _pixels(
        self, scene: Scene, rays: Rays, views: ViewBatch, want: Want
    ) -> tuple[list[Tensor], RenderedSamples | None, Tensor | None]:
        """Image, opacity, depth and, if wanted, normal of each ray; its samples if wanted; their visible share."""
        samples, visible_share = self._prune(scene.geometry, rays, self.sampler(scene.geometry.radius, rays, views, want.random))
        ray_index, count = samples.ray_index, len(rays.origins)
        thickness, color, normal, gradient, nearby = self._query_field(scene, rays, samples, views, want)
        values = torch.cat([color.mT, normal.mT]).mT if want.normals else color
        sums, weights = composite(thickness.squeeze(1), values, samples.t_mid, ray_index, count)
        if not self.pruning.is_active():
            visible_share = self.pruning.measure(weights)
        *shown, opacity, depth = sums.split([scene.material.channels, *[3] * want.normals, 1, 1], -1)
        behind = scene.material.behind(scene.background(rays.directions, rays.view_index, views, want.random))
        pixels = [shown[0] + (1 - opacity) * behind, opacity, depth]
        if want.normals:
            pixels.append(-downhill(shown[1]) * (opacity > MIN_NORMAL_OPACITY))
        if not want.samples:
            return pixels, None, visible_share
        seen = SampleRays(rays, ray_index)
        normal, gradient, nearby = (value if value.shape[1] else None for value in (normal, gradient, nearby))
        where = (seen.directions, seen.view_index, ray_index, samples.t_mid, count)
        return pixels, RenderedSamples(weights, normal, *where, gradient, nearby), visible_share

    def _query_field(self, scene: Scene, rays: Rays, samples: RaySamples, views: ViewBatch, want: Want) -> tuple[Tensor, ...]:
        """Thickness, colour, normal, gradient of the distance and normal nearby of each sample, one chunk of samples at a time.

        What is not requested has no columns.
        """
        parts = split_samples(samples, self.samples.size)
        if len(parts) == 1:
            return self._query_chunk(scene, rays, samples, views, want)
        queries = [lambda part=part: torch.cat(self._query_chunk(scene, rays, part, views, want), -1) for part in parts]
        if torch.is_grad_enabled():
            columns = torch.cat([recomputed(query, scene.geometry, scene.material, self) for query in queries])
        else:
            columns = torch.cat([query() for query in queries])
        gradient = want.normals and want.samples and issubclass(self.needs, HasDistance)
        return columns.split([1, scene.material.channels, 3 * want.normals, 3 * gradient, 3 * (want.samples and want.nearby)], -1)

    def _query_chunk(self, scene: Scene, rays: Rays, samples: RaySamples, views: ViewBatch, want: Want) -> tuple[Tensor, ...]:
        seen = SampleRays(rays, samples.ray_index)
        points, covariance = _sample_positions(scene.geometry, seen, samples)
        field = scene.geometry(points, want.normals or self.reads_gradient, covariance)
        if want.normals and field.normal is None:
            raise UserError("this geometry gives no normals: set camera.lit_probability to 0 and leave out losses that need them")
        if scene.material.is_unlit(views.shading):
            # lights and shadings are not read
            color = scene.material(replace(field, normal=None), views.light, views.shading[:1].expand(len(points)))
        else:
            color = shade(scene, field, seen.directions, seen.view_index, views)
        thickness, nothing = self.thickness(field, seen, samples.t_end - samples.t_start), points.new_empty(len(points), 0)
        normal, gradient, nearby = field.normal if want.normals else nothing, nothing, nothing
        if want.normals and want.samples and issubclass(self.needs, HasDistance):
            gradient = field.gradient
        if want.samples and want.nearby:
            near = (
                NEARBY * scene.geometry.radius * views.randn("nearby", views.camera.height * views.camera.width, 3).flatten(0, 1)
            )
            nearby = scene.geometry(points + near.index_select(0, samples.ray_index), True, covariance).normal
        return thickness[:, None], color, normal, gradient, nearby

    def _prune(self, geometry: Geometry, rays: Rays, samples: RaySamples) -> tuple[RaySamples, Tensor | None]:
        """The samples that are visible, by their thickness alone, and their share; all samples where pruning does not pay."""
        if not self.pruning.is_active():
            return samples, None
        with torch.no_grad():
            seen = SampleRays(rays, samples.ray_index)
            points, covariance = _sample_positions(geometry, seen, samples)
            thickness = self.probe(geometry, points, covariance, seen, samples.t_end - samples.t_start)
            weights = packed_weights(thickness, samples.ray_index, len(rays.origins))
        kept = (weights >= self.cfg.prune_below).nonzero()[:, 0]
        pruned = RaySamples(samples.t_start[kept], samples.t_end[kept], samples.ray_index[kept])
        return pruned, self.pruning.measure(weights)


def _sample_positions(geometry: Geometry, seen: SampleRays, samples: RaySamples) -> tuple[Tensor, Tensor | None]:
    """Where the geometry is evaluated for each sample, and the covariance of its part of the cone if the geometry reads it."""
    return seen.gaussians(samples) if geometry.needs_covariance else (seen.points(samples.t_mid), None)
