import torch

from threefusion.renderer.cone import cone_gaussian


def test_cone_gaussian_has_the_moments_of_its_frustum():
    generator = torch.Generator().manual_seed(0)
    start, end, radius = 1.0, 1.4, 0.2
    # uniform in the frustum: distance with density t^2, uniform in the disc
    t = (start**3 + (end**3 - start**3) * torch.rand(400000, generator=generator)).pow(1 / 3)
    r = radius * t * torch.rand(400000, generator=generator).sqrt()
    turn = 2 * torch.pi * torch.rand(400000, generator=generator)
    points = torch.stack([t, r * turn.cos(), r * turn.sin()], -1)
    mean, covariance = cone_gaussian(
        torch.tensor([[1.0, 0, 0]]), torch.tensor([[radius]]), torch.tensor([start]), torch.tensor([end])
    )
    assert torch.allclose(mean, points[:, 0].mean(), rtol=1e-3)
    assert torch.allclose(covariance[0], points.var(dim=0), rtol=0.02)


def test_cone_gaussian_turns_with_the_ray():
    direction = torch.nn.functional.normalize(torch.randn(6, 3), dim=-1)
    mean, covariance = cone_gaussian(direction, torch.full((6, 1), 0.1), torch.full((6,), 1.0), torch.full((6,), 1.5))
    assert torch.allclose(mean, mean[:1].expand(6))
    assert torch.allclose(covariance.sum(-1), covariance[0].sum().expand(6))
