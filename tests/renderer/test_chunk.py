"""Evaluation that does not fit into memory goes on in smaller pieces and shows the same."""

import pytest
import torch
from scenes import Ball, small_field, volume

from threefusion.camera.orbit import orbit_views
from threefusion.errors import UserError


class Narrow(Ball):
    """A ball that cannot be asked about many points at once."""

    def __init__(self, most):
        super().__init__(features=lambda points: 4 * points)
        self.most = most

    def forward(self, points, normals, covariance=None):
        if len(points) > self.most:
            raise MemoryError
        return super().forward(points, normals, covariance)


def test_fewer_rays_at_a_time_show_the_same(capsys):
    batch = orbit_views(2, 0.3, 2.2, 0.8, 16, 16)
    narrow = volume(Narrow(5000)).eval()
    with torch.no_grad():
        whole, pieces = volume(Narrow(10**6)).eval()(batch, normals=True), narrow(batch, normals=True)
    for name in ("image", "opacity", "depth", "normal"):
        assert torch.allclose(getattr(whole, name), getattr(pieces, name), atol=1e-6)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "out of memory: renderer.rays_per_chunk is 256 from now on, not 16384"
    assert len(lines) > 1 and narrow.rays.size == 2 ** (9 - len(lines))
    narrow(batch)
    assert not capsys.readouterr().err


def test_when_few_rays_are_too_many_the_message_says_what_to_ask_for():
    with pytest.raises(
        UserError, match=r"renderer\.rays_per_chunk cannot be halved again: it is down to \d+\. .*output\.image_size"
    ):
        volume(Narrow(50)).eval()(orbit_views(2, 0.3, 2.2, 0.8, 16, 16))


def test_training_leaves_it_to_the_step_and_halves_what_was_looked_at(capsys):
    renderer = volume(small_field(), samples_per_ray=24).train()
    renderer(orbit_views(3, 0.3, 2.2, 0.8, 16, 16))
    seen = renderer.samples.present
    assert 1024 < seen < 262144
    renderer.spare_memory()
    assert capsys.readouterr().err == f"out of memory: renderer.samples_per_chunk is {seen // 2} from now on, not 262144\n"
    with pytest.raises(MemoryError):
        volume(Narrow(50)).train()(orbit_views(1, 0.3, 2.2, 0.8, 16, 16))
