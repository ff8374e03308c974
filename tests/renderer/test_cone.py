import pytest
import torch

from threefusion.renderer.samples import cone_gaussian


@pytest.mark.parametrize(("start", "end"), [(1.0, 1.4), (0.05, 2.0)])
def test_cone_gaussian_has_the_moments_of_its_frustum(start, end):
    """By numerical integration along x: distance t has density t^2, and y has variance (radius t)^2 / 4."""
    radius, steps = 0.2, 100_000
    t = start + (torch.arange(steps, dtype=torch.float64) + 0.5) * (end - start) / steps
    density = t.square() / t.square().sum()
    expected = (density * t).sum()
    along, across = (density * (t - expected).square()).sum(), (density * (radius * t).square() / 4).sum()
    mean, covariance = cone_gaussian(*(torch.tensor(v, dtype=torch.float64) for v in ([[1, 0, 0]], [[radius]], [start], [end])))
    torch.testing.assert_close(mean[0], expected, rtol=1e-6, atol=0)
    torch.testing.assert_close(covariance[0], torch.stack([along, across, across]), rtol=1e-6, atol=1e-9)


def test_cone_gaussian_turns_with_the_ray():
    direction = torch.nn.functional.normalize(torch.randn(6, 3), dim=-1)
    mean, covariance = cone_gaussian(direction, torch.full((6, 1), 0.1), torch.full((6,), 1.0), torch.full((6,), 1.5))
    assert torch.allclose(mean, mean[:1].expand(6))
    assert torch.allclose(covariance.sum(-1), covariance[0].sum().expand(6))
