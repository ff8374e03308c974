import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from threefusion.geometry.encoding.interpolation import interpolate, project, spread


@pytest.fixture(params=[2, 3], ids=["gathered", "bagged"])
def form(request):
    generator = torch.Generator().manual_seed(0)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()

    index = torch.randint(7, (4, 5), generator=generator)
    return draw(7, request.param), index, draw(4, 5), draw(5, request.param)


def test_three_derivatives_of_one_form_agree(form):
    table, index, weight, value = form
    whole = (weight[..., None] * table[index] * value).sum()
    assert torch.allclose((interpolate(table, index, weight) * value).sum(), whole)
    assert torch.allclose((spread(value, index, weight, 7) * table).sum(), whole)
    assert torch.allclose((project(table, index, value) * weight).sum(), whole)


def test_derivatives_of_first_and_second_order(form):
    table, index, weight, value = form
    for function, inputs in (
        (lambda t, w: interpolate(t, index, w), (table, weight)),
        (lambda v, w: spread(v, index, w, 7), (value, weight)),
        (lambda t, v: project(t, index, v), (table, value)),
    ):
        assert gradcheck(function, inputs)
        assert gradgradcheck(function, inputs)


def test_no_points_give_no_features_and_a_zero_gradient():
    for features in (2, 3):
        table = torch.randn(7, features, requires_grad=True)
        out = interpolate(table, torch.zeros(8, 0, dtype=torch.int32), torch.zeros(8, 0))
        assert out.shape == (0, features)
        out.sum().backward()
        assert not table.grad.any()
