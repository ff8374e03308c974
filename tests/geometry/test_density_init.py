import pytest
import torch

from threefusion.geometry.density_init import ACTIVATIONS, BLOBS, truncated_exp


@pytest.mark.parametrize("name", BLOBS)
def test_gradient_of_a_blob_is_autograds(name):
    points = torch.randn(20, 3, dtype=torch.float64).requires_grad_()
    value, gradient = BLOBS[name](points, 5.0, 0.4)
    (expected,) = torch.autograd.grad(value.sum(), points)
    assert torch.allclose(gradient, expected)


def test_blobs_have_the_published_heights():
    radii = torch.tensor([[0.0, 0, 0], [0.2, 0, 0], [0, 0.5, 0]])
    assert torch.allclose(BLOBS["dreamfusion"](radii, 5.0, 0.2)[0], 5 * torch.tensor([0.0, -0.5, -3.125]).exp())
    assert torch.allclose(BLOBS["magic3d"](radii, 10.0, 0.5)[0], torch.tensor([10.0, 6, 0]))
    assert torch.isfinite(BLOBS["magic3d"](radii, 10.0, 0.5)[1]).all()


def test_activations_are_positive_and_grow():
    value = torch.linspace(-20, 20, 41)
    for activation in ACTIVATIONS.values():
        assert (activation(value) > 0).all() and (activation(value).diff() > 0).all()


def test_truncated_exp_is_exp_with_a_bounded_derivative():
    value = torch.tensor([-3.0, 2.0, 14.0, 30.0], requires_grad=True)
    out = truncated_exp(value)
    assert torch.equal(out, value.exp())
    out.sum().backward()
    assert torch.allclose(value.grad, torch.tensor([-3.0, 2.0, 14.0, 15.0]).exp())
