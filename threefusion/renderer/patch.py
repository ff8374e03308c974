"""Whole images at low resolution with a part at full resolution, for training in less time and memory."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import interpolate

from threefusion.geometry.normals import unit
from threefusion.machine.tensors import send
from threefusion.registry import build
from threefusion.renderer.renderer import Renderer
from threefusion.renderer.settings import PatchConfig
from threefusion.types import RenderedSamples, RenderOutput, Scene, ViewBatch, Want


class Patch(Renderer):
    """A render at low resolution, enlarged, over which a randomly positioned patch at full resolution is pasted.

    As threestudio's patch renderer, except that every view has a position of its own. Evaluation renders the whole image
    with the base.
    """

    def __init__(self, cfg: PatchConfig) -> None:
        super().__init__(cfg)
        self.base: Renderer = build(cfg.base)
        self.needs = self.base.needs

    def update(self, scene: Scene, step: int, generator: torch.Generator) -> None:
        """Update the base."""
        self.base.update(scene, step, generator)

    def after_step(self, render: RenderOutput, step: int) -> None:
        """Hand the render to the base."""
        self.base.after_step(render, step)

    def reduce_memory(self) -> None:
        """Let the base need less."""
        self.base.reduce_memory()

    def render(self, scene: Scene, views: ViewBatch, want: Want) -> RenderOutput:
        """Images of the views; with `want.random` a patch at full resolution in each.

        Samples are then those of the whole images at low resolution, or of the patches if these alone have gradients.
        """
        if not want.random:
            return self.base.render(scene, views, want)
        camera = views.camera
        # on the CPU, where the host decides by them what has to be rendered
        drawn = torch.stack([torch.rand(3, generator=generator) for generator in views.generators("patch")])
        patched = (drawn[:, 2] >= self.cfg.global_probability).nonzero()[:, 0]
        size = torch.tensor([min(self.cfg.size, camera.height), min(self.cfg.size, camera.width)])
        whole = torch.tensor([camera.height, camera.width])
        corner = (drawn[patched, :2] * (whole - size + 1)).long()
        detached = self.cfg.detach_global
        coarse = self._enlarged(scene, views, replace(want, samples=want.samples and not (detached and len(patched))))
        if not len(patched):
            return coarse
        part = views.select(patched)
        crop = send(torch.cat([corner, whole.expand_as(corner)], -1).to(camera.c2w.dtype), camera.c2w.device)
        fine = replace(part, camera=replace(part.camera, height=int(size[0]), width=int(size[1]), crop=crop))
        render = self.base.render(scene, fine, replace(want, samples=want.samples and detached))
        samples = coarse.samples if render.samples is None else _of_batch(render.samples, patched, len(views))
        return replace(coarse, **_pasted(coarse, render, patched, corner), samples=samples)

    def _enlarged(self, scene: Scene, views: ViewBatch, want: Want) -> RenderOutput:
        """The base's render at low resolution, interpolated to the size of the views."""
        camera, factor = views.camera, self.cfg.downsample
        small = replace(camera, height=max(camera.height // factor, 1), width=max(camera.width // factor, 1))
        render = self.base.render(scene, replace(views, camera=small), want)
        images = {}
        for name, image in _images(render).items():
            image = image.detach() if self.cfg.detach_global else image
            size = (camera.height, camera.width)
            images[name] = interpolate(image.permute(0, 3, 1, 2), size, mode="bilinear").permute(0, 2, 3, 1)
        if render.normal is not None:
            images["normal"] = unit(images["normal"])
        return replace(render, **images)


def _images(render: RenderOutput) -> dict[str, Float[Tensor, "B H W C"]]:
    """The images of a render by name."""
    images = {"image": render.image, "opacity": render.opacity, "depth": render.depth, "normal": render.normal}
    return {name: image for name, image in images.items() if image is not None}


def _pasted(
    coarse: RenderOutput, fine: RenderOutput, view: Int[Tensor, "P"], corner: Int[Tensor, "P 2"]
) -> dict[str, Float[Tensor, "B H W C"]]:
    """The images of `coarse` with those of `fine` in the views `view`, their first row and column at `corner`."""
    height, width = fine.image.shape[1:3]
    rows = corner[:, 0, None, None] + torch.arange(height)[:, None]
    columns = corner[:, 1, None, None] + torch.arange(width)
    index = tuple(send(part, fine.image.device) for part in (view[:, None, None], rows, columns))
    return {name: getattr(coarse, name).index_put(index, image) for name, image in _images(fine).items()}


def _of_batch(samples: RenderedSamples, view: Int[Tensor, "P"], count: int) -> RenderedSamples:
    """Samples of the views `view` of a batch of `count`, as samples of the batch, whose other views have none."""
    per_view = samples.rays // len(view)
    of_sample = send(view, samples.view_index.device).index_select(0, samples.view_index)
    ray_index = samples.ray_index + (of_sample - samples.view_index) * per_view
    return replace(samples, view_index=of_sample, ray_index=ray_index, rays=count * per_view)
