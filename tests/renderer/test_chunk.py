"""Renders that do not fit into memory are retried with smaller chunks and show the same."""

import pytest
import torch
from scenes import Ball, small_field, volume

from threefusion.camera.orbit import orbit_views
from threefusion.errors import UserError


class Narrow(Ball):
    """A ball that runs out of memory if many points are evaluated together."""

    def __init__(self, most):
        super().__init__(features=lambda points: 4 * points)
        self.most = most

    def forward(self, points, normals, covariance=None):
        if len(points) > self.most:
            raise MemoryError
        return super().forward(points, normals, covariance)


@pytest.mark.usefixtures("terminal")
@torch.no_grad()
def test_fewer_rays_at_a_time_show_the_same(capsys):
    batch = orbit_views(2, 0.3, 2.2, 0.8, 16, 16)
    whole, pieces = volume(Narrow(10**6))(batch, normals=True), volume(Narrow(5000))(batch, normals=True)
    for name in ("image", "opacity", "depth", "normal"):
        assert torch.allclose(getattr(whole, name), getattr(pieces, name), atol=1e-6)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "out of memory: retrying with renderer.rays_per_chunk=256 instead of 512"
    assert len(lines) > 1


@torch.no_grad()
def test_when_few_rays_are_too_many_the_message_says_what_to_lower():
    with pytest.raises(
        UserError, match=r"renderer\.rays_per_chunk cannot be halved again: it is down to \d+\. .*output\.image_size"
    ):
        volume(Narrow(50))(orbit_views(2, 0.3, 2.2, 0.8, 16, 16))


@pytest.mark.usefixtures("terminal")
def test_training_leaves_the_retry_to_the_step(capsys):
    rendered = volume(small_field(), samples_per_ray=24)
    rendered.renderer.reduce_memory()
    assert capsys.readouterr().err == "out of memory: retrying with renderer.samples_per_chunk=131072 instead of 262144\n"
    with pytest.raises(MemoryError):
        volume(Narrow(50))(orbit_views(1, 0.3, 2.2, 0.8, 16, 16), random=True)
