"""Every combination of components trains a step with finite gradients, or is refused in one line before training."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch
from PIL import Image

from threefusion.cli.describe import components
from threefusion.config import ConfigError, load_config
from threefusion.config.catalogue import BUILT_IN
from threefusion.errors import UserError
from threefusion.exporter.settings import MeshExporterConfig
from threefusion.exporter.writers import write_mesh
from threefusion.registry import build
from threefusion.run.source import starting_scene
from threefusion.system.build import build_system
from threefusion.system.scene import build_scene
from threefusion.testing.samples import small_ball

ENCODING = "encoding: {type: dense-grid, levels: 1, features: 4, base_resolution: 8}, hidden_width: 8"
GEOMETRIES = {
    "density-field": f"type: density-field, {ENCODING}",
    "sdf-field": f"type: sdf-field, {ENCODING}",
    "voxel-grid": "type: voxel-grid, resolution: 8",
    "tri-plane": "type: tri-plane, encoding: {type: tri-plane, resolution: 8, features: 4}, hidden_width: 8",
    "tetrahedra": f"type: tetrahedra, resolution: 20, {ENCODING}",
    "fixed-mesh": f"type: fixed-mesh, init_from: ball.glb, {ENCODING}",
    "textured-mesh": "type: textured-mesh, mesh: ball.glb, texture_size: 16, grids: [4]",
    "image": "type: image, height: 12, width: 12",
}
SAMPLER = "sampler: {type: uniform, samples_per_ray: 24}"
RENDERERS = {name: f"type: {name}, {SAMPLER}" for name in ("volume", "neus", "volsdf")}
RENDERERS |= {name: f"type: {name}" for name in ("rasterizer", "image")}
RENDERERS |= {f"patch of {name}": f"type: patch, size: 6, base: {{{RENDERERS[name]}}}" for name in RENDERERS}
FITTING = {
    "density-field": {"volume", "patch of volume"},
    "voxel-grid": {"volume", "patch of volume"},
    "tri-plane": {"volume", "patch of volume"},
    "sdf-field": {"neus", "volsdf", "patch of neus", "patch of volsdf"},
    "tetrahedra": {"rasterizer", "patch of rasterizer"},
    "fixed-mesh": {"rasterizer", "patch of rasterizer"},
    "textured-mesh": {"rasterizer", "patch of rasterizer"},
    "image": {"image"},
}
"""Renderers by geometry."""
PIXELS = {"sparsity", "opaqueness", "transmittance", "reference"}
GIVEN = {"reference": ", image: picture.png"}
"""What a loss has to be given."""
SMOOTH = {"normal-smoothness-2d"}
SAMPLES = {"orientation", "z-variance", "normal-smoothness-3d"}
MESH = {"normal-consistency", "laplacian"}
LOSSES = {
    "volume": PIXELS | SMOOTH | SAMPLES,
    "neus": PIXELS | SMOOTH | SAMPLES | {"eikonal"},
    "volsdf": PIXELS | SMOOTH | SAMPLES | {"eikonal"},
    "rasterizer": PIXELS | SMOOTH | MESH,
    "image": PIXELS,
}
LOSSES |= {f"patch of {name}": losses for name, losses in LOSSES.items()}
"""Losses by renderer."""
OF_GEOMETRY = {"tetrahedra": {"sdf-entropy"}, "textured-mesh": {"anchor"}}
"""Losses that only one geometry has."""
PAIRS = [(geometry, renderer) for geometry, renderers in FITTING.items() for renderer in sorted(renderers)]
TEXT = """
prompt: {{type: plain, text: a red ball}}
camera: {{type: orbital, batch_size: 2, height: 12, width: 12, albedo_steps: 0, lit_probability: 1}}
geometry: {{{geometry}}}
renderer: {{{renderer}}}
material: {{type: {material}}}
background: {{type: solid}}
guidance: {{type: sds, guidance_scale: 1, prior: {{type: gaussian, image_size: 12}}}}
loss: {loss}
trainer: {{max_steps: 1, accelerator: cpu}}
exporter: null
"""


def shipped(kind):
    return {found["name"] for found in components(kind) if found["origin"] == BUILT_IN}


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A run of the components named; ConfigError if they do not fit."""
    monkeypatch.chdir(tmp_path)
    ball = small_ball()
    write_mesh(replace(ball, normals=ball.vertices, colors=0 * ball.vertices + 0.5), tmp_path, ["glb"])
    (tmp_path / "model.glb").rename("ball.glb")
    Image.new("RGBA", (4, 4), "red").save("picture.png")

    def load(geometry, renderer, material="diffuse", loss="null"):
        text = TEXT.format(geometry=GEOMETRIES[geometry], renderer=RENDERERS[renderer], material=material, loss=loss)
        (tmp_path / "run.yaml").write_text(text)
        return load_config(tmp_path / "run.yaml", [])

    return load


def assert_one_line(error, *words):
    lines = [str(one) for one in getattr(error, "all", [error])]
    assert all("\n" not in line for line in lines) and any(all(word in line for word in words) for line in lines), lines


def step(config):
    """The metrics of one optimiser step, after which every parameter is finite, and some have changed."""
    system = build_system(config, starting_scene(config))
    before = {name: parameter.clone() for name, parameter in system.scene.named_parameters()}
    optimizer = system.configure_optimizers()
    system.begin_step(0)
    loss, metrics = system.compute_loss(system.camera.sample(0, 0, torch.arange(2)))
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in system.named_parameters() if parameter.grad is not None}
    assert loss.isfinite() and all(gradient.isfinite().all() for gradient in gradients.values())
    optimizer.step()
    after = dict(system.scene.named_parameters())
    assert all(parameter.isfinite().all() for parameter in after.values())
    assert any(not torch.equal(before[name], after[name]) for name in before)
    return metrics


def test_the_tables_name_every_component():
    assert GEOMETRIES.keys() == FITTING.keys() == shipped("geometry")
    assert {name.partition(" ")[0] for name in RENDERERS} == shipped("renderer")
    assert set().union(*LOSSES.values()) | {"sdf-entropy", "anchor"} == shipped("loss")


@pytest.mark.parametrize(("geometry", "renderer"), list(product(GEOMETRIES, RENDERERS)))
def test_a_geometry_trains_with_each_renderer_and_material_or_is_refused(config, geometry, renderer):
    for material in sorted(shipped("material")):
        if renderer not in FITTING[geometry]:
            with pytest.raises(ConfigError) as refusal:
                config(geometry, renderer, material)
            assert_one_line(refusal.value, "renderer")
        elif (geometry, material) in (("fixed-mesh", "normal"), ("textured-mesh", "normal")):
            with pytest.raises(UserError, match="none to learn") as refusal:
                step(config(geometry, renderer, material))
            assert_one_line(refusal.value)
        else:
            step(config(geometry, renderer, material))


@pytest.mark.parametrize(("geometry", "renderer"), PAIRS)
def test_a_renderer_trains_with_each_loss_or_refuses_it(config, geometry, renderer):
    fitting = LOSSES[renderer] | OF_GEOMETRY.get(geometry, set())
    for loss in sorted(shipped("loss")):
        written = f"{{term: {{type: {loss}, weight: 1{GIVEN.get(loss, '')}}}}}"
        if loss in fitting:
            assert step(config(geometry, renderer, loss=written))["term"].isfinite()
            continue
        with pytest.raises(ConfigError) as refusal:
            config(geometry, renderer, loss=written)
        assert_one_line(refusal.value, "loss")


@pytest.mark.parametrize("geometry", [name for name in FITTING if name != "image"])
def test_a_geometry_is_exported_in_each_mode(config, geometry, tmp_path):
    run = config(geometry, min(FITTING[geometry], key=len), "pbr")
    scene, renderer = build_scene(run, starting_scene(run))
    small = MeshExporterConfig(resolution=24, texture_size=64, views=2, view_size=16, max_faces=400, formats=["ply"])
    modes = {
        "default": small,
        "normals": replace(small, normal_map=True),
        "plain": replace(small, normal_map=False, sparse=False),
        "vertex": replace(small, texture="vertex"),
    }
    for name, settings in modes.items():
        exported = build(settings).export(scene, renderer, tmp_path / name)
        assert exported.report["watertight"], name
        assert {path.name for path in exported.paths} == {"model.glb", "model.ply"}
        images = {"base_color", "metallic_roughness"} | ({"normal"} if name in ("default", "normals") else set())
        assert exported.mesh.textures.keys() == ({"metallic_roughness"} if name == "vertex" else images)
        assert (exported.mesh.uv is None) == (name == "vertex")


def test_a_picture_has_no_mesh_to_export(config):
    run = config("image", "image")
    with pytest.raises(ConfigError) as refusal:
        load_config(Path("run.yaml"), ["exporter=mesh"])
    assert run.exporters == {}
    assert_one_line(refusal.value, "exporter")
