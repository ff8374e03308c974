from math import pi

import torch
from torch.autograd import gradcheck

from threefusion.geometry.encoding.frequency import Frequency
from threefusion.geometry.encoding.integrated import Integrated
from threefusion.geometry.encoding.settings import FrequencyConfig, IntegratedConfig


def test_frequencies_double_from_one_wave_across_the_scene():
    encoding = Frequency(FrequencyConfig(frequencies=3))
    points = torch.tensor([[-0.4, 0.1, 0.9]])
    encoded = encoding(points)[0]
    assert encoded.shape == (encoding.width,)
    assert torch.equal(encoded[:3], points[0])
    for axis in range(3):
        for octave in range(3):
            angle = pi * 2**octave * points[0, axis]
            place = 3 + axis * 3 + octave
            assert torch.allclose(encoded[[place, place + 9]], torch.stack([angle.sin(), angle.cos()]), atol=1e-5)


def test_integrated_encoding_is_the_average_over_its_gaussian():
    encoding = Integrated(IntegratedConfig(frequencies=4))
    points = torch.tensor([[0.2, -0.5, 0.7], [0.0, 0.3, -0.1]])
    covariance = torch.tensor([[0.01, 0.04, 0.002], [0.0, 0.09, 0.001]])
    draws = points + covariance.sqrt() * torch.randn(200000, 2, 3, generator=torch.Generator().manual_seed(0))
    averaged = encoding(draws.reshape(-1, 3)).reshape(200000, 2, -1).mean(0)
    assert torch.allclose(encoding(points, covariance), averaged, atol=0.01)


def test_integrated_encoding_of_a_point_is_its_waves():
    points = torch.rand(5, 3) * 2 - 1
    waves = Frequency(FrequencyConfig(frequencies=6, include_points=False))(points)
    integrated = Integrated(IntegratedConfig(frequencies=6))
    assert torch.allclose(integrated(points), waves)
    assert torch.allclose(integrated(points, torch.zeros(5, 3)), waves)


def test_pullback_of_waves_is_their_derivative():
    encoding = Integrated(IntegratedConfig(frequencies=3))
    points = torch.rand(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    covariance = torch.full((4, 3), 0.01, dtype=torch.float64)
    cotangent = torch.randn(4, encoding.width, dtype=torch.float64, requires_grad=True)
    _, pullback = encoding.with_pullback(points, covariance)
    moved = points.clone().requires_grad_()
    (expected,) = torch.autograd.grad(encoding(moved, covariance), moved, cotangent)
    assert torch.allclose(pullback(cotangent), expected)
    assert gradcheck(pullback, cotangent)
