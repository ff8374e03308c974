"""What `render` and `export` make of a finished run, and what a run leaves at its end."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from threefusion.asset.container import open_container
from threefusion.cli import main as cli
from threefusion.config import load_config
from threefusion.errors import UserError
from threefusion.exporter import preview
from threefusion.exporter.preview import load_glb
from threefusion.guidance.prior.models import licence_of
from threefusion.messages import Message
from threefusion.renderer import views as field_views
from threefusion.run import results
from threefusion.run.folder import open_run, write_config
from threefusion.run.results import disappointments
from threefusion.types import Mesh

ROOT = Path(__file__).parents[2]
SMALL = ["exporter.type=mesh", "exporter.resolution=24", "exporter.texture_size=64", "exporter.max_faces=200", "exporter.views=2"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    """A run that ended with a mesh."""
    run = tmp_path_factory.mktemp("results") / "run"
    assert cli.run(["train", "--config", str(ROOT / "tests/tiny.yaml"), "--out", str(run), *SMALL]) == 0
    return run


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def texture_size(run: Path) -> tuple[int, int]:
    (surface,) = trimesh.load(run / "mesh/model.glb", process=False).geometry.values()
    return surface.visual.material.baseColorTexture.size


def test_export_takes_overrides_of_the_exporter(run: Path, capsys) -> None:
    assert texture_size(run) == (64, 64)
    config = (run / "config.yaml").read_bytes()
    assert cli.run(["export", str(run), "--format", "obj", "exporter.texture_size=128"]) == 0
    out, shown = capsys.readouterr()
    assert [Path(line).name for line in out.splitlines()] == ["model.glb", "model.obj", "model.mtl", "model.png"]
    assert texture_size(run) == (128, 128) and Image.open(run / "mesh/model.png").size == (128, 128)
    assert (run / "config.yaml").read_bytes() == config
    # off a terminal, a line for each thing that takes time
    assert "mesh: texture coordinates" in shown.splitlines()


def test_export_in_every_format_with_a_physical_size(run: Path, capsys, heard: list[Message]) -> None:
    pytest.importorskip("lib3mf")
    pytest.importorskip("pxr")
    before = load_glb(run / "mesh/model.glb").vertices
    formats = ["glb", "obj", "ply", "stl", "3mf", "usdz"]
    words = ["--height", "0.3m", "--on-floor", "--normal", "directx", "--web"]
    assert cli.run(["export", str(run), "--format", *formats, *words]) == 0
    names = {Path(line).name for line in capsys.readouterr().out.splitlines()}
    pictures = {"model.png", "model_normal.png", "model.mtl", "model.web.glb"}
    assert names == {path.name for path in (run / "mesh").iterdir()} == {f"model.{name}" for name in formats} | pictures
    assert "model.web.glb is for viewers that support KHR_mesh_quantization and EXT_texture_webp" in str(heard)
    box = trimesh.load(run / "mesh/model.glb").bounds
    assert box[:, 1] == pytest.approx([0, 0.3], abs=1e-6)
    # the same mesh in scene units, for films and scores
    assert torch.allclose(load_glb(run / "mesh/model.glb").vertices, before, atol=1e-5)
    report = json.loads((run / "report.json").read_text())
    assert report["export"]["web_requires"] == ["KHR_mesh_quantization", "EXT_texture_webp"]
    assert report["export"]["silhouette_iou"] > 0
    extras = open_container(run / "mesh/model.glb").tree["asset"]["extras"]
    assert extras["prompt"] == open_run(run).text and extras["seed"] == open_run(run).seed


def test_a_missing_package_is_named_before_anything_is_trained_or_exported(run: Path, tmp_path: Path, monkeypatch) -> None:
    for module, package, form in (("lib3mf", "lib3mf", "3mf"), ("pxr", "usd-core", "usdz")):
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(UserError, match=f"{package} is not installed.*python -m pip install {package}"):
            cli.run(["export", str(run), "--format", form])
        words = ["train", "--config", str(ROOT / "tests/tiny.yaml"), "--out", str(tmp_path / form), "exporter.type=mesh"]
        with pytest.raises(UserError, match=f"{package} is not installed"):
            cli.run([*words, f"exporter.formats=[{form}]"])
        assert not (tmp_path / form / "checkpoints").exists()


def test_models_are_named_with_their_licences(trained: Path) -> None:
    config = load_config(ROOT / "configs/quickstart.yaml", [])
    assert results.origin(config).models == ("toyworld-pixel: Apache-2.0",)
    for model, licence in (("openai/clip-vit-large-patch14", "MIT"), ("somebody/model", "licence not known")):
        assert licence_of(model) == licence


def test_export_of_a_run_without_an_exporter_names_the_way_out(run: Path) -> None:
    config = replace(open_run(run), exporters={})
    write_config(run, config)
    with pytest.raises(UserError, match=f"no exporter.*export {run} exporter=mesh"):
        cli.run(["export", str(run)])
    (run / "mesh/model.glb").unlink()
    assert cli.run(["export", str(run), "exporter=mesh", *SMALL[1:]]) == 0
    assert texture_size(run) == (64, 64)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["seed=3"], "seed=3: export takes only exporter.key=value"),
        (["exporters.texture_size=3"], "export takes only exporter.key=value"),
        (["~loss.sparsity"], "export takes only exporter.key=value"),
        (["exporter.texture_sise=64"], "unknown field of exporter 'mesh'. Did you mean 'texture_size'"),
        (["exporter.texture_size=3"], "texture_size: expected"),
        (["exporter=mash"], "unknown exporter type 'mash'. Did you mean 'mesh'"),
        (["--format", "fbx"], "--format fbx: unknown format. Available: glb, obj, ply, stl"),
        (["--format", "gbl"], "--format gbl: unknown format. Did you mean 'glb'"),
        (["--height", "0.3"], "--height: expected a number with a unit (m, cm, mm, in, ft), such as 0.3m or 12in; got '0.3'"),
        (["--height", "0.3km"], "--height: expected a number with a unit (m, cm, mm, in, ft)"),
        (["--height", ""], "--height: expected a number with a unit"),
        (["--height=-3m"], "--height: expected a number with a unit"),
        (["--height", "0mm"], "--height: expected a length between 0.1mm and 10000m; got '0mm'"),
        (["exporter.height=0.3"], "height: expected a number with a unit (m, cm, mm, in, ft), such as 0.3m or 12in; got '0.3'"),
        (["--normal", "directy"], "--normal directy: unknown convention. Did you mean 'directx'?"),
        (["--normal", "directx", "exporter.texture=vertex"], "exporter.normal: directx needs a normal map"),
        (["exporter.normal=directx", "exporter.normal_map=false"], "normal: directx needs a normal map"),
        (["another"], "'another': expected exporter.key=value; one run at a time"),
    ],
)
def test_wrong_arguments_of_export_leave_the_mesh(run: Path, words: list[str], message: str) -> None:
    before = (run / "mesh/model.glb").read_bytes()
    with pytest.raises(UserError) as error:
        cli.run(["export", str(run), *words])
    assert message in str(error.value)
    assert (run / "mesh/model.glb").read_bytes() == before


@pytest.mark.parametrize("name", ["film.gif", "new/film.webm", "film.MP4", "frames"])
def test_render_films_the_field_and_the_mesh(run: Path, tmp_path: Path, name: str, capsys) -> None:
    for option in ([], ["--mesh"]):
        out = tmp_path / "-".join(["out", *option]) / name
        words = ["render", str(run), *option, "--views", "3", "--size", "16", "--out", str(out)]
        assert cli.run(words) == 0
        printed, shown = capsys.readouterr()
        assert printed.strip() == str(out) and f"rendering {out.name} 0/3\n" in shown
        assert len(list(out.iterdir())) == 3 if out.is_dir() else out.stat().st_size > 100


def test_the_film_of_the_mesh_shows_the_mesh_and_not_the_field(run: Path, tmp_path: Path) -> None:
    for path in (run / "checkpoints").glob("*.ckpt"):  # an emptied field
        state = torch.load(path, weights_only=True)
        state["state_dict"] = {key: torch.zeros_like(value) for key, value in state["state_dict"].items()}
        torch.save(state, path)
    pictures = {}
    for mode in ("color", "albedo", "textureless", "normal"):
        cli.run(["render", str(run), "--mesh", "--views", "1", "--size", "32", "--mode", mode, "--out", str(tmp_path / mode)])
        pictures[mode] = np.asarray(Image.open(tmp_path / mode / "000.png")).astype(int)
        assert (pictures[mode][0] == 255).all(), mode
    middle = {mode: picture[16, 16] for mode, picture in pictures.items()}
    assert middle["albedo"][0] - middle["albedo"][1:].max() > 30
    assert (middle["color"] <= middle["albedo"]).all() and np.ptp(middle["textureless"]) == 0
    # the front faces the camera on +x
    assert middle["normal"][0] > 200


def test_a_missing_mesh_is_one_sentence_before_anything_is_rendered(run: Path, tmp_path: Path) -> None:
    (run / "mesh/model.glb").unlink()
    with pytest.raises(UserError, match=f"no exported mesh. Export it first: python launch.py export {run}"):
        cli.run(["render", str(run), "--mesh", "--out", str(tmp_path / "new/film.mp4")])
    assert not (tmp_path / "new").exists()


def test_no_frames_are_no_turntable(run: Path) -> None:
    assert cli.run(["train", "--resume", str(run), "trainer.max_steps=13", "output.turntable_frames=0"]) == 0
    report = json.loads((run / "report.json").read_text())
    assert report["artifacts"]["video"] is None and report["artifacts"]["mesh"] == "mesh/model.glb"
    assert not (run / "turntable.mp4").exists()


@pytest.mark.parametrize(("given", "filmed"), [([], "mesh"), (["output.turntable=field"], "field")])
def test_the_turntable_shows_the_mesh_unless_the_field_is_wanted(run: Path, given, filmed: str, monkeypatch) -> None:
    monkeypatch.setattr(preview, "mesh_images", lambda mesh, views: of(0.0, views))
    monkeypatch.setattr(field_views, "render_views", lambda renderer, scene, views: of(1.0, views))
    shown = []
    monkeypatch.setattr(results, "film", lambda out, images, count: shown.append((out.name, next(images).max(), count)))
    monkeypatch.setattr(results, "scores", lambda *_: None)
    assert cli.run(["train", "--resume", str(run), "trainer.max_steps=13", *given]) == 0
    assert shown == [("turntable.mp4", {"mesh": 0.0, "field": 1.0}[filmed], 4)]


def of(grey: float, views) -> Iterator[torch.Tensor]:
    """Images of one grey."""
    yield from torch.full((len(views), 4, 4, 3), grey)


def test_a_mesh_without_colours_is_not_filmed() -> None:
    corner = torch.zeros(3, 3)
    assert preview.is_coloured(Mesh(corner, torch.arange(3)[None], corner, colors=corner))
    assert not preview.is_coloured(Mesh(corner, torch.arange(3)[None], colors=corner))
    assert not preview.is_coloured(Mesh(corner, torch.arange(3)[None], corner))
    assert not preview.is_coloured(Mesh(corner, torch.arange(3)[None], corner, corner[:, :2], {"normal": corner[None]}))


def test_a_run_ends_with_what_may_disappoint(trained: Path) -> None:
    config = open_run(trained)
    right = {"geometric_retrieval": True, "best_class": "ball", "silhouette_iou": 0.9}
    wrong = {"geometric_retrieval": False, "best_class": "ice cream cone", "silhouette_iou": 0.3}
    nothing = {"geometric_retrieval": False, "best_class": None, "silhouette_iou": 0.0}
    assert disappointments(config, right) == disappointments(config, None) == []
    (sentence,) = disappointments(config, wrong)
    assert "looks like an ice cream cone" in sentence and "IoU 0.30" in sentence and "another seed" in sentence
    assert "cannot be seen" in disappointments(config, nothing)[0]
    unknown = load_config(
        trained / "config.yaml", ["guidance.prior={type: pixel, model: toyworld-pixel}", "prompt.text=a dragon"]
    )
    (sentence,) = disappointments(unknown, None)
    assert sentence.startswith("the result can be anything: toyworld-pixel knows no object in 'a dragon'. It knows ball, cube")


def test_the_disappointment_is_the_last_line_and_the_path_the_last_on_stdout(run: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(results, "scores", lambda *_: {"geometric_retrieval": False, "best_class": "cone", "silhouette_iou": 0.3})
    assert cli.run(["train", "--resume", str(run), "trainer.max_steps=13"]) == 0
    out, shown = capsys.readouterr()
    assert out.splitlines()[-1] == f"mesh: {run}/mesh/model.glb"
    assert shown.splitlines()[-1].startswith("warning: the mesh looks like a cone")


@pytest.mark.parametrize("given", [["facing=null"], ["facing.steps=[]"]])
def test_facing_can_be_turned_off(given: list[str]) -> None:
    quickstart = ROOT / "configs/quickstart.yaml"
    assert load_config(quickstart, []).facing.steps and not load_config(quickstart, given).facing.steps


def test_plan_does_not_judge_the_mesh_that_it_makes_for_measuring(tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(results, "scores", lambda *_: {"geometric_retrieval": False, "best_class": "cone", "silhouette_iou": 0.3})
    assert cli.run(["plan", str(ROOT / "tests/tiny.yaml"), *SMALL]) == 0
    assert "warning" not in capsys.readouterr().err
