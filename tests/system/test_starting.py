"""Every geometry from every other one: silhouettes of a star, its colours, and the words in which the run tells it."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
import torch

from threefusion.background.settings import SolidConfig
from threefusion.camera.orbit import views_around
from threefusion.errors import UserError
from threefusion.exporter.fidelity import field_views
from threefusion.exporter.preview import rasterised_views
from threefusion.geometry.encoding.settings import DenseGridConfig, FrequencyConfig, HashGridConfig, TriPlaneConfig
from threefusion.geometry.fixed_mesh import ColoredMesh
from threefusion.geometry.geometry import HasDensity
from threefusion.geometry.settings import (
    CanvasConfig,
    DensityFieldConfig,
    FixedMeshConfig,
    SdfFieldConfig,
    TetrahedraConfig,
    TriPlaneFieldConfig,
    VoxelGridConfig,
)
from threefusion.material.settings import DiffuseConfig, NormalConfig, PbrConfig
from threefusion.registry import build
from threefusion.renderer.settings import VolumeConfig
from threefusion.system import conversion
from threefusion.system.conversion import base_color, surface_of
from threefusion.system.start import Source, context_of, start_from
from threefusion.testing.samples import small_ball
from threefusion.types import Mesh, Scene

DENSE = DenseGridConfig(levels=2)
SMALL = {"encoding": DENSE, "hidden_width": 32}
GEOMETRIES = {
    "density-field": DensityFieldConfig(**SMALL),
    "sdf-field": SdfFieldConfig(**SMALL),
    "voxel-grid": VoxelGridConfig(resolution=48),
    "tri-plane": TriPlaneFieldConfig(encoding=TriPlaneConfig(resolution=32), hidden_width=32),
    "tetrahedra": TetrahedraConfig(encoding=DENSE),
    "fixed-mesh": FixedMeshConfig(encoding=DENSE),
    "image": CanvasConfig(),
}
FITTED = {"density-field", "sdf-field", "tri-plane"}
PAGE = Path(__file__).parents[2] / "docs" / "geometry.md"


def star() -> Mesh:
    """Five arms round the vertical axis: not convex. Red in front, green behind."""
    direction = torch.nn.functional.normalize(small_ball(16).vertices, dim=-1)
    azimuth = torch.atan2(direction[:, 1], direction[:, 0])
    reach = 0.45 + 0.2 * (5 * azimuth).cos() * direction[:, :2].square().sum(-1)
    vertices = reach[:, None] * direction
    red = 0.2 + 0.6 * (vertices[:, :1] > 0)
    return Mesh(vertices, small_ball(16).faces, colors=torch.cat([red, 1 - red, torch.full_like(red, 0.4)], -1))


def of_star() -> Source:
    return Source(Scene(ColoredMesh(star(), 1.0), build(DiffuseConfig()), build(SolidConfig())), None, "file star.glb")


def started(geometry, source: Source, material=None, seed: int = 1) -> Scene:
    torch.manual_seed(seed)
    built = build(material or DiffuseConfig())
    context = context_of(built.feature_width, source, seed, restoring=False)
    scene = Scene(build(geometry, context), built, build(SolidConfig()))
    start_from(scene, source, context, seed)
    return scene


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fits of a third of the length."""
    monkeypatch.setattr(conversion, "SHAPE_STEPS", 160)
    monkeypatch.setattr(conversion, "COLOR_STEPS", 100)
    monkeypatch.setattr(conversion, "POINTS", 1 << 14)


@cache
def starting_as(name: str) -> Source:
    """The star as a geometry of this name."""
    if name == "image":
        picture = build(CanvasConfig(), context_of(3, None, 0, False))
        return Source(Scene(picture, build(DiffuseConfig()), build(SolidConfig())), None, "stage coarse")
    renderer = build(VolumeConfig()) if name in ("density-field", "voxel-grid", "tri-plane") else None
    return Source(started(GEOMETRIES[name], of_star()), renderer, "stage coarse")


def silhouettes(scene: Scene) -> torch.Tensor:
    """Where the scene is seen, as its renderer shows it: 6 views."""
    views = views_around(1.0, 6, 64, 0.3)
    if isinstance(scene.geometry, HasDensity):
        return field_views(build(VolumeConfig()), scene, views).mask
    return rasterised_views(mesh_of(scene), views.camera).mask > 0


def mesh_of(scene: Scene) -> Mesh:
    mesh = surface_of(scene, None)
    return Mesh(mesh.vertices, mesh.faces, normals=mesh.vertices, colors=mesh.vertices)


def overlap(one: Scene, other: torch.Tensor) -> float:
    found = silhouettes(one)
    return float((found & other).sum() / (found | other).sum())


@cache
def truth() -> torch.Tensor:
    return silhouettes(of_star().scene)


def color_error(scene: Scene) -> float:
    """Mean difference from the star's colours on its surface."""
    mesh = star()
    points = mesh.vertices[mesh.vertices[:, 0].abs() > 0.1]
    with torch.no_grad():
        return float((base_color(scene, points) - base_color(of_star().scene, points)).abs().mean())


@pytest.mark.parametrize("before", list(GEOMETRIES))
@pytest.mark.parametrize("after", list(GEOMETRIES))
def test_every_geometry_from_every_other_one(before: str, after: str) -> None:
    source, table = starting_as(before), matrix()
    if "image" in (before, after):
        assert "refused" in table[after, before] or "anew" in table[after, before] or before == after
        if "refused" not in table[after, before]:
            scene = started(GEOMETRIES[after], source)
            assert ("copied" if before == after else "starts anew") in scene.origin
        return
    scene = started(GEOMETRIES[after], source)
    how = "copied" if before == after else "fitted" if after in FITTED else "converted"
    assert how in scene.origin and how == table[after, before]
    assert scene.origin.startswith("from stage coarse: ") and after in scene.origin and before in scene.origin
    assert overlap(scene, silhouettes(source.scene)) > 0.9
    assert color_error(scene) < 0.1


def test_a_star_is_fitted_and_converted() -> None:
    """Directly from the mesh, with what is made of it in the matrix."""
    for name in GEOMETRIES:
        if name != "image":
            scene = starting_as(name).scene
            assert overlap(scene, truth()) > 0.93 and color_error(scene) < 0.05, name


def test_the_fit_depends_on_the_seed_alone_and_gives_a_distance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a sphere the distance is known; fine grids of the encoding do not make its gradient noisy."""
    monkeypatch.setattr(conversion, "SHAPE_STEPS", 120)
    ball = Source(Scene(ColoredMesh(small_ball(24), 1.0), build(DiffuseConfig()), build(SolidConfig())), None, "file ball.ply")
    cfg = SdfFieldConfig(encoding=HashGridConfig(levels=14, log2_table_size=14), hidden_width=32, axes=(0.3, 0.6, 0.4))
    one, two = started(cfg, ball), started(cfg, ball)
    assert all(torch.equal(value, two.state_dict()[name]) for name, value in one.state_dict().items())
    points = torch.randn(2000, 3, generator=torch.Generator().manual_seed(0))
    points = points / points.norm(dim=-1, keepdim=True) * torch.linspace(0.2, 0.8, 2000)[:, None]
    sample = one.geometry(points, True)
    assert (sample.distance[:, 0] - (points.norm(dim=-1) - 0.5)).abs().mean() < 0.02
    assert sample.gradient.norm(dim=-1).std() < 0.3


def test_a_density_is_cut_where_its_own_renderer_shows_it() -> None:
    """Not where a default one would: the same field under a renderer that sees it ten times as dense is larger."""
    from threefusion.renderer.volume import Volume

    class Dense(Volume):
        def thickness(self, field, directions, length):
            return 10 * super().thickness(field, directions, length)

    torch.manual_seed(0)
    field = build(DensityFieldConfig(**SMALL, blob_scale=5.0), context_of(3, None, 0, False))
    scene = Scene(field, build(DiffuseConfig()), build(SolidConfig())).requires_grad_(False)
    reach = [
        float(context_of(3, Source(scene, renderer, "x"), 0, False).surface().vertices.norm(dim=-1).mean())
        for renderer in (build(VolumeConfig()), Dense(VolumeConfig()))
    ]
    assert reach[1] > reach[0] + 0.05


def test_tetrahedra_and_meshes_keep_their_shape_under_another_encoding() -> None:
    for name in ("tetrahedra", "fixed-mesh"):
        before = starting_as(name)
        cfg = type(GEOMETRIES[name])(encoding=FrequencyConfig(frequencies=3))
        scene = started(cfg, before)
        assert torch.equal(scene.geometry.mesh().vertices, before.scene.geometry.mesh().vertices)
        assert "converted, colours fitted" in scene.origin


def test_features_of_another_material_and_of_none() -> None:
    grid = starting_as("voxel-grid")
    scene = started(GEOMETRIES["voxel-grid"], grid, PbrConfig())
    assert "converted, colours fitted" in scene.origin and color_error(scene) < 0.1
    shape = started(TetrahedraConfig(encoding=DENSE, resolution=24), grid, NormalConfig())
    assert shape.origin.endswith("voxel-grid -> tetrahedra converted")
    after = started(GEOMETRIES["tetrahedra"], Source(shape, None, "stage shape"))
    assert after.origin.endswith("features start anew")


@pytest.mark.filterwarnings("error")
def test_a_geometry_without_features_is_built_without_a_warning() -> None:
    build(TetrahedraConfig(encoding=DENSE, resolution=16), context_of(0, None, 0, False))


def matrix() -> dict[tuple[str, str], str]:
    """The table of docs/geometry.md: what becomes of (geometry, geometry before)."""
    rows = re.findall(r"^\| `([\w-]+)` from \|(.*)\|$", PAGE.read_text(), re.M)
    head = re.search(r"^\| to \\\\ from \|(.*)\|$", PAGE.read_text(), re.M)
    names = [name.strip(" `") for name in head[1].split("|")]
    return {(after, before): cell.strip() for after, cells in rows for before, cell in zip(names, cells.split("|"), strict=True)}


@pytest.mark.parametrize("name", ["density-field", "sdf-field", "voxel-grid", "tri-plane", "tetrahedra", "fixed-mesh"])
def test_a_shape_outside_the_ball_is_refused(name: str) -> None:
    """It is one of a scene with a larger radius."""
    ball = small_ball()
    far = Mesh(ball.vertices + torch.tensor([3.0, 0.0, 0.0]), ball.faces, colors=ball.vertices)
    source = Source(Scene(ColoredMesh(far, 4.0), build(DiffuseConfig()), build(SolidConfig())), None, "run large")
    with pytest.raises(UserError, match=r"geometry\.radius: no part of the surface .* less than 1 from the origin"):
        started(GEOMETRIES[name], source)


def test_a_plate_between_the_vertices_of_a_grid_is_refused() -> None:
    corners = torch.cartesian_prod(*3 * [torch.tensor([-1.0, 1.0])])
    faces = [[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]]
    triangles = torch.tensor([[a, *pair] for a, b, c, d in faces for pair in ((b, c), (c, d))])
    plate = Mesh(corners * torch.tensor([0.45, 0.45, 0.002]) + torch.tensor([0, 0, 0.021]), triangles)
    source = Source(Scene(ColoredMesh(plate, 1.0), build(DiffuseConfig()), build(SolidConfig())), None, "file plate.glb")
    with pytest.raises(UserError, match=r"raise geometry\.resolution"):
        started(TetrahedraConfig(encoding=DENSE, resolution=40), source)
