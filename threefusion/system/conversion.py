"""From the scene of a stage before to one with another geometry: its surface, and its colours."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import mse_loss

from threefusion.exporter.fidelity import without_background
from threefusion.exporter.settings import MeshExporterConfig
from threefusion.exporter.surface import extract
from threefusion.exporter.topology import main_components
from threefusion.geometry.appearance import Appearance
from threefusion.geometry.closest import points_on, sample_surface
from threefusion.geometry.geometry import HasSurface
from threefusion.registry import build
from threefusion.renderer.settings import VolumeConfig
from threefusion.types import FieldSample, Mesh, Scene

RESOLUTION = 128
"""Samples along each axis of the grid on which the surface of a field is found."""
FIT_POINTS = 1 << 16
FIT_BATCH = 1 << 12
FIT_STEPS = 300
FIT_LR = 0.01
SPREAD = 0.02
"""Standard deviation of the points' distance from the surface, in radii of the scene: it will move."""


@torch.no_grad()
def surface_of(scene: Scene) -> Mesh:
    """The surface of a scene, on the CPU, in the geometry's own frame.

    Of a density the level whose silhouettes match its renders, without debris; a geometry's own mesh as it is.

    Raises:
        UserError: the scene has no surface, is empty, or has diverged.
    """
    settings = MeshExporterConfig(resolution=RESOLUTION)
    bare = without_background(scene, torch.zeros_like(scene.heading))
    # a volume renderer without history shows any density; other geometries need none
    mesh = extract(bare, build(VolumeConfig()).to(scene.device), settings).mesh
    return mesh if isinstance(scene.geometry, HasSurface) else main_components(mesh, settings.smallest_part)[0]


def hand_over_appearance(scene: Scene, previous: Scene, seed: int) -> None:
    """Give the surface of `scene` the colours that `previous` has there.

    Encoding and network are copied where they fit; otherwise the features are fitted, to those of `previous` if the materials are
    of one type, to its base colour if not. Deterministic in `seed`.
    """
    appearance, before = getattr(scene.geometry, "appearance", None), previous.geometry
    if not isinstance(appearance, Appearance) or not hasattr(before, "features") or previous.material is None:
        return
    if scene.material.feature_width == 0:  # such as normals as the image: nothing to fit
        return
    same = type(scene.material) is type(previous.material)
    if same and scene.material.feature_width == previous.material.feature_width and appearance.copy_from(before):
        return
    mesh = scene.geometry.mesh()
    if len(mesh.faces):
        fit(scene, appearance, previous, Mesh(mesh.vertices.detach().cpu(), mesh.faces.cpu()), seed)


def fit(scene: Scene, appearance: Appearance, previous: Scene, mesh: Mesh, seed: int) -> None:
    """Train the features alone, with points round the surface."""
    generator = torch.Generator().manual_seed(seed)
    points = points_on(mesh, *sample_surface(mesh, FIT_POINTS, generator))
    nearby = points + SPREAD * scene.geometry.radius * torch.randn(points.shape, generator=generator)
    with torch.no_grad():
        targets = torch.cat([base_color(previous, part.to(previous.device)).cpu() for part in nearby.split(FIT_BATCH)])
    optimizer = torch.optim.Adam(appearance.parameters(), FIT_LR, betas=(0.9, 0.99), eps=1e-15)
    with torch.enable_grad():
        for _ in range(FIT_STEPS):
            chosen = torch.randint(len(nearby), (FIT_BATCH,), generator=generator)
            shown = base_color(scene, nearby[chosen].to(scene.device))
            optimizer.zero_grad()
            mse_loss(shown, targets[chosen].to(scene.device)).backward()
            optimizer.step()
    nn.Module.zero_grad(scene)


def base_color(scene: Scene, points: torch.Tensor) -> torch.Tensor:
    """The base colour of a scene at points, in [0, 1]."""
    blur = (torch.zeros_like(points),) if getattr(scene.geometry, "needs_covariance", False) else ()
    sample = FieldSample(scene.geometry.features(points, *blur), points=points)
    return scene.material.textures(sample)["base_color"]
