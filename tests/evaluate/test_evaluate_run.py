"""Evaluation of complete, empty and broken run folders."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from threefusion.cli.main import main
from threefusion.config import config_to_yaml, load_config
from threefusion.errors import UserError
from threefusion.evaluate import evaluate as module
from threefusion.evaluate import evaluate_run, read_evaluation
from threefusion.evaluate.independence import refuse_guiding_model
from threefusion.evaluate.keys import JANUS_KEYS, SECTIONS
from threefusion.evaluate.specimens import truth_mesh
from threefusion.exporter.writers import write_mesh
from threefusion.page.scores import MEASURED
from threefusion.run.results import export
from threefusion.system.scene import build_scene
from threefusion.toyworld.objects import ToyObject

TINY = Path(__file__).parents[1] / "tiny.yaml"
REPORT = {
    "steps": 12, "seconds": 3.5, "iterations_per_second": 3.4, "peak_memory_bytes": 1000, "network_calls": 12,
    "network_images": 96, "phase_milliseconds_per_step": {"render": 9.0, "guidance": 20.5, "backward": 8.0, "other": 2.5},
    "artifacts": {"mesh": "mesh/model.glb"}, "export": {"dropped_volume": 0.25},
}  # fmt: skip


def make_run(folder, seed=3, prompt="a red ball", mesh=True, checkpoint=True, report=REPORT, overrides=()):
    """A run folder whose mesh is the ground truth, without training."""
    config = load_config(TINY, [f"seed={seed}", f"prompt.text={prompt}", *overrides])
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "config.yaml").write_text(config_to_yaml(config))
    if checkpoint:
        scene, renderer = build_scene(config)
        state = torch.nn.ModuleDict({"scene": scene, "renderer": renderer}).state_dict()
        torch.save({"state_dict": state}, folder / "checkpoints" / "step-000012.ckpt")
    if mesh:
        truth = truth_mesh(ToyObject("ball", "red"), 32)
        write_mesh(truth, folder / "mesh", ["glb"])
    if report is not None:
        (folder / "report.json").write_text(json.dumps(report))
    return folder


@pytest.fixture(autouse=True)
def no_bundled_judge(monkeypatch, tmp_path):
    """Without the bundled judge."""
    monkeypatch.setattr(module, "BUNDLED_JUDGE", tmp_path / "no-judge")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "whole")


@pytest.fixture(scope="module")
def whole(run, clip_folder):
    return evaluate_run(run, views=4, clip=clip_folder)


def test_a_whole_run_has_every_number(whole, run):
    unknown = {key for section in MEASURED for key, value in whole[section].items() if value is None}
    assert {name: set(whole[name]) for name in SECTIONS} == {name: set(keys) for name, keys in SECTIONS.items()}
    # a ball has no front and is its own ellipsoid, and a field that was never trained is too thin to have a colour
    assert unknown == {*JANUS_KEYS, "skill", "color_spread"}
    assert whole["truth"]["volume_iou"] > 0.98 and whole["truth"]["object"] == "red ball"
    assert whole["pathology"]["dropped_volume"] == 0.25
    assert whole["cost"]["iterations"] == 12 and whole["cost"]["network_calls"] == 12
    assert whole["cost"]["guidance_ms"] == 20.5 and whole["cost"]["other_ms"] == 2.5
    assert 0 <= whole["pathology"]["opacity_entropy"] <= 1
    assert 0 <= whole["fidelity"]["silhouette_iou"] <= 1
    assert whole["notes"] == {}


def test_the_result_is_written_to_the_run_folder(whole, run):
    assert read_evaluation(run) == json.loads(json.dumps(whole))
    assert not list(run.glob("*.tmp"))


def test_an_empty_run_has_the_same_keys_and_explains_missing_values(whole, tmp_path, clip_folder):
    bare = evaluate_run(make_run(tmp_path / "bare", mesh=False, checkpoint=False, report=None), views=4, clip=clip_folder)
    assert {name: set(values) for name, values in bare.items() if name != "notes"} == {
        name: set(values) for name, values in whole.items() if name != "notes"
    }
    assert set(bare["notes"]) == {"mesh", "fidelity", "cost"}
    assert bare["pathology"]["emptiness"] == 1
    assert bare["text_image"]["r_precision"] == 0 and bare["text_image"]["similarity"] is None
    assert set(bare["cost"].values()) == set(bare["fidelity"].values()) == {None}


def test_a_broken_mesh_counts_as_missing(tmp_path):
    broken = make_run(tmp_path / "broken", mesh=False, checkpoint=False)
    (broken / "mesh").mkdir()
    (broken / "mesh" / "model.glb").write_bytes(b"glTF is no more")
    found = evaluate_run(broken, views=4)
    assert "cannot be read" in found["notes"]["mesh"]
    assert found["pathology"]["emptiness"] == 1


@pytest.mark.parametrize("content", [b"", b"no checkpoint", None])
def test_an_unreadable_checkpoint_counts_as_missing(content, tmp_path):
    spoiled = make_run(tmp_path / "spoiled", mesh=False)
    path = spoiled / "checkpoints" / "step-000012.ckpt"
    if content is None:
        torch.save({"state_dict": {"renderer.something.else": torch.zeros(1)}}, path)
    else:
        path.write_bytes(content)
    notes = {}
    assert module._read_field(spoiled, 4, notes) is None
    assert "step-000012.ckpt: cannot be read" in notes["fidelity"]


def test_a_mesh_is_compared_with_a_scene_that_is_a_surface(tmp_path):
    settings = [
        "geometry.type=tetrahedra",
        "geometry.resolution=24",
        "renderer.type=rasterizer",
        "loss=null",
        "exporter.type=mesh",
    ]
    run = make_run(tmp_path / "surface", mesh=False, overrides=settings)
    export(run, load_config(run / "config.yaml", []), None)
    fidelity = evaluate_run(run, views=4)["fidelity"]
    assert fidelity["silhouette_iou"] > 0.97 and fidelity["psnr"] > 25


def test_a_field_that_diverged_leaves_no_invalid_numbers(tmp_path):
    diverged = make_run(tmp_path / "diverged", mesh=False)
    path = diverged / "checkpoints" / "step-000012.ckpt"
    state = torch.load(path)["state_dict"]
    diverged_state = {k: v * torch.nan if "network" in k else v for k, v in state.items()}
    torch.save({"state_dict": diverged_state}, path)
    assert evaluate_run(diverged, views=4)["pathology"]["opacity_entropy"] is None
    json.loads((diverged / "evaluation.json").read_text(), parse_constant=pytest.fail)


def test_a_prompt_outside_the_toy_world_needs_a_list(tmp_path, clip_folder):
    other = make_run(tmp_path / "other", prompt="a castle in the sky", checkpoint=False)
    found = evaluate_run(other, views=4, clip=clip_folder)
    assert set(found["truth"].values()) == {None}
    assert "--candidates" in found["notes"]["text_image"]
    assert found["pathology"]["emptiness"] == 0 and found["pathology"]["components"] == 1
    listed = evaluate_run(other, views=4, clip=clip_folder, captions=["a castle in the sky", "a cat"])
    assert listed["text_image"]["candidates"] == 2 and listed["text_image"]["similarity"] is not None


def test_the_guiding_model_is_refused_as_judge(tmp_path):
    folder = tmp_path / "models" / "prior"
    (folder / "text_encoder").mkdir(parents=True)
    link = tmp_path / "link"
    link.symlink_to(folder)
    config = load_config(TINY, [f"guidance.prior={{type: pixel, model: {link}}}"])
    for judge in (folder, folder / "text_encoder", link):
        with pytest.raises(UserError, match="guided the run"):
            refuse_guiding_model(config, judge)
    other = tmp_path / "models" / "other"
    other.mkdir()
    refuse_guiding_model(config, other)
    hub = load_config(TINY, ["guidance.prior={type: latent, model: someone/a-model}"])
    (other / "config.json").write_text('{"_name_or_path": "someone/a-model"}')
    with pytest.raises(UserError, match="guided the run"):
        refuse_guiding_model(hub, other)
    with pytest.raises(UserError, match="guided the run"):
        refuse_guiding_model(hub, tmp_path / "models--someone--a-model" / "snapshots" / "1a2b")
    refuse_guiding_model(load_config(TINY, []), other)


def called(*words):
    with pytest.raises(SystemExit) as end:
        main(["eval", *map(str, words)])
    return end.value.code


def test_seeds_are_summarised_and_runs_that_differ_otherwise_are_not(run, tmp_path, capsys):
    again = make_run(tmp_path / "again", seed=4, mesh=False, checkpoint=False, report={**REPORT, "seconds": 4.5})
    other = make_run(tmp_path / "other", seed=5, prompt="a blue ball", mesh=False, checkpoint=False)
    assert called(run, again, other, "--views", "4", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert [result["run"]["seed"] for result in found["runs"]] == [3, 4, 5]
    (summary,) = found["summaries"]
    assert (summary["prompt"], summary["seeds"]) == ("a red ball", [3, 4])
    assert summary["values"]["cost.seconds"] == {"mean": 4.0, "std": pytest.approx(0.5**0.5), "n": 2}
    assert summary["values"]["truth.chamfer"]["n"] == 1


def test_the_text_report_shows_every_number(tmp_path, capsys):
    alone = make_run(tmp_path / "alone", mesh=False, checkpoint=False)
    assert called(alone, "--views", "4") == 0
    out = capsys.readouterr().out
    words = ("'a red ball'", "geometric_retrieval", "volume_iou", "janus", "network_calls", "r_precision")
    assert all(word in out for word in words)


def test_user_errors_are_one_line(run, tmp_path, capsys, monkeypatch):
    assert called(tmp_path) == 2
    assert called(run, "--clip", tmp_path / "missing") == 2
    errors = capsys.readouterr().err.splitlines()
    assert len(errors) == 2
    assert "not a run folder" in errors[0] and "is not a folder" in errors[1]


def test_runs_are_grouped_by_their_config_without_the_seed():
    from threefusion.cli.eval import without_seed

    config = load_config(TINY, [])
    assert without_seed(config) == without_seed(replace(config, seed=99))
    assert without_seed(config) != without_seed(load_config(TINY, ["optimizer.lr=0.02"]))
