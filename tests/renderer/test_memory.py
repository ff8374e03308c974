"""Memory follows the samples that are kept, not resolution times steps."""

from dataclasses import replace
from itertools import pairwise
from math import atan, tan

import pytest
import torch
from live_tensors import LiveTensors
from scenes import small_field, volume

from threefusion.camera.orbit import orbit_views
from threefusion.types import Shading


def step(rendered, batch):
    """Samples, bytes kept for the backward pass, and the most alive in it, of one lit render."""
    samples = len(rendered(batch, samples=True, random=True).samples.weights)
    with LiveTensors() as meter:
        out = rendered(batch, random=True)
        kept = meter.now
        meter.lap()
        out.image.square().mean().backward()
        most = meter.lap()
    rendered.scene.zero_grad()
    return samples, kept, most


def with_a_few_cells(rendered, cells):
    """The renderer's grid with nothing but a cube of so many cells a side in the middle."""
    side = rendered.renderer.sampler.cfg.resolution
    occupied = torch.zeros(side, side, side, dtype=torch.bool)
    middle = slice(side // 2 - cells // 2, side // 2 + cells // 2)
    occupied[middle, middle, middle] = True
    rendered.renderer.sampler.occupied.copy_(occupied.flatten())
    return rendered


def zoomed_out(factor):
    """A view of 24 x 24 pixels inside one of `factor` times as many a side: each pixel sees as much of the scene as before."""
    batch = orbit_views(2, 0.3, 2.5, 0.5, 24 * factor, 24 * factor, shading=Shading.LIT)
    return replace(batch, camera=replace(batch.camera, fovy=torch.full((2,), 2 * atan(factor * tan(0.25)))))


@pytest.mark.parametrize("prune_below", [0.0, 1e-6])
def test_rays_through_empty_space_keep_next_to_nothing(prune_below):
    rendered = volume(small_field(), "occupancy", 96, sampling={"resolution": 16}, prune_below=prune_below)
    with_a_few_cells(rendered, 4)
    (few, kept, most), (many, kept_of_many, most_of_many) = step(rendered, zoomed_out(1)), step(rendered, zoomed_out(6))
    assert few > 3000 and abs(many - few) < 0.05 * few
    rays = 2 * 24**2 * 35
    # a number per step of each of these rays would be 384 bytes a ray; origins, directions, image and the like are about 200
    assert (kept_of_many - kept) / rays < 256
    assert (most_of_many - most) / rays < 320


def test_what_is_kept_grows_with_the_samples():
    rendered = volume(small_field(), "occupancy", 96, sampling={"resolution": 16}, samples_per_chunk=10**6)
    counts, kept, _ = zip(*(step(with_a_few_cells(rendered, cells), zoomed_out(2)) for cells in (4, 6, 8, 10)), strict=True)
    per_sample = [(b - a) / (m - n) for (a, b), (n, m) in zip(pairwise(kept), pairwise(counts), strict=True)]
    assert counts[-1] > 5 * counts[0]
    assert max(per_sample) < 1.05 * min(per_sample)


def test_computing_again_bounds_what_the_samples_add():
    batch = zoomed_out(2)
    grown = []
    for chunk in (10**6, 2000):
        rendered = volume(small_field(), "occupancy", 96, sampling={"resolution": 16}, samples_per_chunk=chunk)
        found = [step(with_a_few_cells(rendered, cells), batch) for cells in (6, 10)]
        samples = found[1][0] - found[0][0]
        grown.append([(found[1][part] - found[0][part]) / samples for part in (1, 2)])
    (kept, most), (kept_in_chunks, most_in_chunks) = grown
    # what remains is the packed weights, colours and normals themselves, not what lies between the points and them
    assert kept_in_chunks < 0.5 * kept and most_in_chunks < 0.6 * most
