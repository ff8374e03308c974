"""The geometries `tetrahedra` and `fixed-mesh`: shapes they start from, bounds, what is trained, checkpoints."""

from __future__ import annotations

from math import pi

import pytest
import torch

from threefusion.errors import UserError
from threefusion.exporter.topology import is_watertight, signed_volume
from threefusion.geometry.fixed_mesh import ColoredMesh
from threefusion.geometry.geometry import BuildContext
from threefusion.geometry.settings import FixedMeshConfig, TetrahedraConfig
from threefusion.geometry.tetrahedra import BORDER
from threefusion.registry import build
from threefusion.testing.samples import small_ball
from threefusion.types import Mesh


def tetrahedra(**settings):
    torch.manual_seed(0)
    return build(TetrahedraConfig(**settings), BuildContext(3))


def test_it_starts_as_an_ellipsoid() -> None:
    mesh = tetrahedra(radius=2.0, shape=(0.3, 0.5, 0.6)).mesh()
    assert is_watertight(mesh)
    assert signed_volume(Mesh(mesh.vertices.detach(), mesh.faces)) == pytest.approx(4 / 3 * pi * 8 * 0.09, rel=0.02)
    assert mesh.vertices.abs().amax(0).tolist() == pytest.approx([0.6, 1.0, 1.2], rel=0.02)


def test_no_distance_and_no_displacement_leads_out_of_the_ball() -> None:
    geometry = tetrahedra(resolution=24, radius=0.7)
    with torch.no_grad():
        geometry.distance.copy_(torch.randn(geometry.distance.shape, generator=torch.Generator().manual_seed(0)) - 1)
        geometry.displacement.copy_(100 * torch.randn(geometry.rest.shape, generator=torch.Generator().manual_seed(1)))
    mesh = geometry.mesh()
    assert is_watertight(mesh) and mesh.vertices.norm(dim=-1).max() <= 0.7


def test_a_shape_that_is_too_large_ends_in_a_smooth_cap_and_can_shrink() -> None:
    geometry = tetrahedra(resolution=24, radius=0.7)
    with torch.no_grad():
        # everything left of a plane
        geometry.distance.copy_(geometry.rest[:, 0] - 0.3)
    mesh = geometry.mesh()
    cap = mesh.vertices[mesh.vertices[:, 0] < 0.25].norm(dim=-1)
    assert cap.mean().item() == pytest.approx(0.7 - BORDER * geometry.cell, rel=0.01)
    assert cap.std() < 0.03 * geometry.cell
    cap.sum().backward()
    assert (geometry.distance.grad[geometry.distance < geometry.border] < 0).any()


def test_distances_and_displacements_move_the_surface() -> None:
    geometry = tetrahedra(resolution=20)
    geometry.mesh().vertices.square().sum().backward()
    assert geometry.distance.grad.abs().sum() > 0 and geometry.displacement.grad.abs().sum() > 0
    assert geometry.distance.grad.isfinite().all()
    fixed = tetrahedra(resolution=20, train_shape=False)
    assert not fixed.mesh().vertices.requires_grad
    assert {name.split(".")[0] for name, value in fixed.named_parameters() if value.requires_grad} == {"appearance"}


def test_edge_distances_are_those_of_the_crossed_edges() -> None:
    geometry = tetrahedra(resolution=20)
    ends = geometry.edge_distances()
    assert len(ends) == len(geometry.mesh().vertices) and ((ends[:, 0] < 0) != (ends[:, 1] < 0)).all()


def test_a_vanished_surface_is_an_empty_mesh() -> None:
    geometry = tetrahedra(resolution=20)
    with torch.no_grad():
        geometry.distance.fill_(1.0)
    assert geometry.mesh().faces.shape == (0, 3) and geometry.features(geometry.mesh().vertices).shape == (0, 3)
    assert geometry.edge_distances().shape == (0, 2)


def test_a_fixed_mesh_keeps_its_vertices_through_a_checkpoint() -> None:
    geometry = build(FixedMeshConfig(), BuildContext(3, surface=small_ball))
    assert torch.equal(geometry.mesh().vertices, small_ball().vertices)
    assert all(name.startswith("appearance") for name, _ in geometry.named_parameters())
    restored = build(FixedMeshConfig(), BuildContext(3, restoring=True))
    restored.prepare_load(geometry.state_dict())
    restored.load_state_dict(geometry.state_dict())
    assert torch.equal(restored.mesh().vertices, geometry.mesh().vertices)
    assert torch.equal(restored.features(small_ball().vertices), geometry.features(small_ball().vertices))


def test_a_fixed_mesh_has_to_start_from_something() -> None:
    with pytest.raises(UserError, match=r"geometry\.init_from"):
        build(FixedMeshConfig(), BuildContext(3))


def test_colors_of_a_mesh_are_those_of_the_closest_point() -> None:
    ball = small_ball()
    colors = ball.vertices * 0.5 + 0.5
    shown = ColoredMesh(Mesh(ball.vertices, ball.faces, colors=colors), 1.0)
    assert torch.allclose(shown.features(1.1 * ball.vertices).sigmoid(), colors, atol=0.03)
    # one texel row per colour, v up: the top row belongs to v = 1
    texture = torch.tensor([[[1.0, 0, 0]], [[0.0, 0, 1]]]).expand(2, 2, 3)
    uv = torch.stack([torch.full((len(colors),), 0.5), (ball.vertices[:, 2] > 0).float() * 0.5 + 0.25], -1)
    shown = ColoredMesh(Mesh(ball.vertices, ball.faces, uv=uv, textures={"base_color": texture}), 1.0)
    top = shown.features(torch.tensor([[0.0, 0, 0.6], [0, 0, -0.6]])).sigmoid()
    assert torch.allclose(top, torch.tensor([[1.0, 0, 0], [0, 0, 1]]), atol=0.01)
