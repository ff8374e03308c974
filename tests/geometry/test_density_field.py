import pytest
import torch

from threefusion.config.catalogue import settings_class
from threefusion.geometry.density_field import DensityField
from threefusion.geometry.geometry import BuildContext
from threefusion.geometry.normals import central_gradient, downhill
from threefusion.geometry.settings import DensityFieldConfig

SMALL = {
    "hash-grid": {"levels": 4, "log2_table_size": 10, "base_resolution": 4, "growth": 1.6},
    "dense-grid": {"levels": 2, "features": 4, "base_resolution": 4},
    "frequency": {"frequencies": 3},
    "integrated": {"frequencies": 3},
}


def field(encoding="hash-grid", **settings):
    torch.manual_seed(0)
    made = DensityField(
        DensityFieldConfig(encoding=settings_class("encoding", encoding)(**SMALL[encoding]), **settings), BuildContext(3)
    )
    for name, parameter in made.named_parameters():
        if "table" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    return made


def ball_points(count, radius=0.9):
    generator = torch.Generator().manual_seed(3)
    direction = torch.nn.functional.normalize(torch.randn(count, 3, generator=generator), dim=-1)
    return direction * radius * torch.rand(count, 1, generator=generator) ** (1 / 3)


def test_the_untrained_field_is_a_blob_with_normals_pointing_out():
    made = DensityField(DensityFieldConfig(), BuildContext(3))
    points = ball_points(100)
    sample = made(points, normals=True)
    expected = torch.nn.functional.softplus(10 * (1 - points.norm(dim=-1, keepdim=True) / 0.5))
    assert (sample.density / expected - 1).abs().median() < 0.3
    assert (sample.normal * torch.nn.functional.normalize(points, dim=-1)).sum(-1).min() > 0.99
    assert sample.features.shape == (100, 3)


@pytest.mark.parametrize("encoding", SMALL)
@pytest.mark.parametrize("network", ["plain", "residual"])
def test_analytic_normals_are_those_of_fine_differences(encoding, network):
    made = field(
        encoding, network=network, hidden_width=16, hidden_layers=2, radius=1.3, activation="exp", blob_scale=2.0
    ).double()
    points = ball_points(40).double()
    normal = made(points, normals=True).normal
    fine = downhill(central_gradient(made.density, points, 1e-7))
    # a few points lie within a step of a cell's border, where the derivative jumps
    assert (normal - fine).abs().amax(-1).sort().values[:36].max() < 1e-4
    assert torch.allclose(normal.norm(dim=-1), torch.ones(40, dtype=torch.float64))


def test_finite_difference_normals_smooth_the_same_field():
    analytic = field("frequency", hidden_width=16)
    smooth = field("frequency", hidden_width=16, normal="finite-difference", difference_step=1e-3)
    points = ball_points(40)
    assert torch.equal(analytic(points, False).density, smooth(points, True).density)
    agreement = (analytic(points, True).normal * smooth(points, True).normal).sum(-1)
    assert agreement.min() > 0.999


@pytest.mark.parametrize("encoding", SMALL)
def test_losses_on_normals_move_every_parameter_as_double_backward_does(encoding):
    made = field(encoding, hidden_width=16, network="residual").double()
    points = ball_points(10).double()
    probe = torch.randn(10, 3, dtype=torch.float64)
    fast = torch.autograd.grad((made(points, True).normal * probe).sum(), list(made.parameters()), allow_unused=True)
    moved = points.clone().requires_grad_()
    level = made._level(moved, made._raw(moved, None))
    (gradient,) = torch.autograd.grad(level.sum(), moved, create_graph=True)
    plain = torch.autograd.grad((downhill(gradient) * probe).sum(), list(made.parameters()), allow_unused=True)
    moved_at_all = [name for (name, _), g in zip(made.named_parameters(), fast, strict=True) if g is not None and g.any()]
    assert any("network.0.weight" in name for name in moved_at_all)
    for a, b in zip(fast, plain, strict=True):
        assert (a is None or not a.any()) if b is None else torch.allclose(a, b, atol=1e-9)


def test_nothing_lies_outside_the_ball():
    made = field(radius=0.8, blob="none", bias=3.0)
    shell = torch.nn.functional.normalize(torch.randn(50, 3), dim=-1)
    assert not made.density(0.801 * shell).any()
    assert (made.density(0.799 * shell) > 0).all()


@pytest.mark.parametrize("normal", ["analytic", "finite-difference"])
@pytest.mark.parametrize("encoding", SMALL)
def test_recording_gradients_or_not_changes_nothing(encoding, normal):
    made = field(encoding, normal=normal)
    points = ball_points(20)
    recorded = made(points, True)
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            again = made(points.clone(), True)
        assert not again.density.requires_grad and not again.normal.requires_grad
        for name in ("density", "features", "normal"):
            assert torch.allclose(getattr(recorded, name), getattr(again, name), atol=1e-6)


def test_a_frozen_field_still_has_normals():
    made = field().requires_grad_(False)
    points = ball_points(20)
    assert torch.allclose(made(points, True).normal, field()(points, True).normal)


def test_wide_cones_see_less_detail():
    made = field("integrated", blob="none")
    points = ball_points(200)
    sharp = made(points, False, torch.zeros(200, 3)).features.std(dim=0)
    blurred = made(points, False, torch.full((200, 3), 1.0)).features.std(dim=0)
    assert (blurred < 0.1 * sharp).all()


def test_normals_vanish_with_a_finite_derivative_where_the_field_is_flat():
    gradient = torch.tensor([[0.0, 0.0, 0.0], [0.0, 3.0, 4.0]], requires_grad=True)
    normal = downhill(gradient)
    assert torch.allclose(normal, torch.tensor([[0.0, 0.0, 0.0], [0.0, -0.6, -0.8]]))
    normal.sum().backward()
    assert torch.isfinite(gradient.grad).all() and not gradient.grad[0].any()


def test_no_points_at_all():
    for normal in ("analytic", "finite-difference"):
        made = field(normal=normal)
        sample = made(torch.zeros(0, 3), True)
        assert sample.density.shape == (0, 1) and sample.normal.shape == (0, 3)
        (sample.density.sum() + sample.normal.sum()).backward()


@pytest.mark.parametrize(("name", "value"), [("radius", 0.0), ("hidden_width", 0), ("hidden_layers", 17), ("blob_std", -1.0)])
def test_values_out_of_range_are_refused(name, value):
    with pytest.raises(ValueError, match=f"^{name}: "):
        DensityFieldConfig(**{name: value})


def relative(found, expected):
    return ((found - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("network", ["plain", "residual"])
@pytest.mark.parametrize("encoding", SMALL)
def test_a_network_in_bfloat16_is_off_by_its_rounding_and_trains_float32_parameters(encoding, network):
    points, probe = ball_points(2000), torch.randn(2000, 3, generator=torch.Generator().manual_seed(5))
    answers = []
    for dtype in ("float32", "bfloat16"):
        made = field(encoding, network=network, network_dtype=dtype)
        sample = made(points, True)
        assert {value.dtype for value in (sample.density, sample.features, sample.normal)} == {torch.float32}
        loss = (sample.features * probe).sum() + sample.density.sum() + (sample.normal * probe).sum()
        gradients = torch.autograd.grad(loss, [p for p in made.parameters() if p.requires_grad], allow_unused=True)
        assert all(gradient is None or gradient.dtype == torch.float32 for gradient in gradients)
        answers.append((sample, torch.cat([g.flatten() for g in gradients if g is not None])))
    (exact, exact_gradient), (half, half_gradient) = answers
    # bfloat16 rounds to one part in 256
    assert 0 < relative(half.features, exact.features) < 0.01
    assert relative(half.density, exact.density) < 0.001
    assert relative(half.normal, exact.normal) < 0.004
    assert relative(half_gradient, exact_gradient) < 0.01


def test_finite_differences_of_bfloat16_are_refused():
    with pytest.raises(ValueError, match=r"^network_dtype: not bfloat16"):
        DensityFieldConfig(network_dtype="bfloat16", normal="finite-difference")


@pytest.mark.parametrize("activation", ["exp", "trunc-exp"])
def test_a_density_that_overflows_outside_the_ball_is_nothing_there(activation):
    made = field("frequency", activation=activation, bias=200.0)
    outside = torch.tensor([[0.9, 0.9, 0.9]], requires_grad=True)
    density = made.density(outside)
    assert density.item() == 0
    (gradient,) = torch.autograd.grad(density.sum(), outside)
    assert not gradient.any()
