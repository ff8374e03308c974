"""Questions and mistakes are answered without loading anything heavy: that is what makes them quick."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from threefusion.cli.doctor import as_page

ROOT = Path(__file__).parents[2]
HEAVY = (
    "torch",
    "numpy",
    "pytorch_lightning",
    "lightning",
    "diffusers",
    "transformers",
    "jaxtyping",
    "PIL",
    "trimesh",
    "huggingface_hub",
    "hashlib",
)
SCRIPT = """
import json, sys
from threefusion.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit as end:
    print(json.dumps({"code": end.code, "modules": [name for name in sys.modules if "." not in name]}), file=sys.stderr)
"""


def ask(*words, cwd=ROOT):
    """What the command line prints, its exit code, and the top-level modules that it loaded."""
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "HOME": "/nowhere"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *words], capture_output=True, text=True, cwd=cwd, env=environment, timeout=60
    )
    *lines, last = done.stderr.splitlines()
    end = json.loads(last)
    return done.stdout, "\n".join(lines), end["code"], end["modules"]


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "good.yaml"
    path.write_text(
        "prompt: {text: a red car}\nlogger: {type: wandb, mode: offline}\ntrainer: {max_steps: 3}\nloss: {sparsity: {}}\n"
    )
    return str(path)


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        [],
        ["--version"],
        ["train", "--help"],
        ["eval", "--help"],
        ["bench", "--help"],
        ["gallery", "--help"],
        ["perf", "--help"],
        ["plan", "--help"],
        ["check", "configs/bench/toyworld.yaml"],
        ["list"],
        ["list", "loss", "--json"],
        ["describe", "guidance", "sds"],
        ["describe", "prior", "latent", "--json"],
        ["check", "GOOD", "seed=3"],
    ],
)
def test_answers_load_nothing_heavy(words, good):
    out, errors, code, modules = ask(*[good if word == "GOOD" else word for word in words])
    assert (code, errors) == (0, "")
    assert len(out.splitlines()) >= 1
    assert not set(HEAVY) & set(modules)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["lst"], "error: unknown command 'lst'. Did you mean 'list'?"),
        (["eval"], "error: the following arguments are required: RUN. See: python launch.py eval --help"),
        (["bench", "--config", "GOOD"], "GOOD:1: prompt: unknown key of a benchmark. Did you mean 'prompts'?"),
        (["bench", "--config", "configs/bench/quick.yaml", "--jobs", "0"], "error: --jobs: at least 1"),
        (
            ["perf", "st"],
            "error: perf: 'st' is not one of encode, march, composite, rasterize, mlp, step, guidance, all. Did you mean 'step'?",
        ),
        (["perf", "march", "--points", "3"], "error: --points: not for perf march, which takes --batch, --resolution"),
        (["perf", "mlp", "--points", "0"], "error: --points: at least 1"),
        (
            ["perf", "encode", "--processor-time"],
            "error: --processor-time: sums over all threads, so it needs --threads 1",
        ),
        (
            ["plan", "GOOD", "renderer.sampler.samples_per_rays=3"],
            "command line: renderer.sampler.samples_per_rays: unknown field of sampler 'uniform'. "
            "Did you mean 'samples_per_ray'?",
        ),
        (["plan", "GOOD", "GOOD"], "error: 'GOOD': expected key=value; one config at a time"),
        (["evaluate"], "error: unknown command 'evaluate'. Did you mean 'eval'?"),
        (["eval", "tests"], "error: tests: not a run folder (it has no config.yaml)"),
        (["eval", ".", "--views", "2"], "error: --views: expected 4 to 120"),
        (["train"], "error: train needs --config FILE or --resume RUN. See: python launch.py train --help"),
        (
            ["train", "--confg", "x"],
            "error: train takes no option '--confg'. Did you mean '--config'? See: python launch.py train --help",
        ),
        (["train", "GOOD"], "error: 'GOOD': expected key=value. A config is given with --config GOOD"),
        (["train", "--config", "GOOD", "sed=3"], "command line: sed: unknown key of a run. Did you mean 'seed'?"),
        (["train", "--config", "there-is-no-such-config.yaml"], "there-is-no-such-config.yaml: no such file"),
        (["train", "--config"], "error: argument --config: expected one argument. See: python launch.py train --help"),
        (["train", "--resume", "nowhere"], "error: nowhere: no such run folder"),
        (
            ["train", "--resume", ".", "--config", "GOOD"],
            "error: --resume RUN takes its config and its folder from RUN: omit --config and --out",
        ),
        (
            ["check", "GOOD", "loss.sparsity.weigth=3"],
            "command line: loss.sparsity.weigth: unknown field of loss 'sparsity'. Did you mean 'weight'?",
        ),
        (["check", "seed=3"], "error: check needs at least one config file. See: python launch.py check --help"),
        (["list", "los"], "error: unknown kind of component 'los'. Did you mean 'loss'?"),
        (["describe", "guidance", "sdss"], "error: unknown guidance type 'sdss'. Did you mean 'sds'?"),
        (["gallery", "missing"], "error: missing: no such folder"),
        (["render", "nowhere"], "error: nowhere: no such run folder"),
        (["render", "tests"], "error: tests: not a run folder (it has no config.yaml)"),
        (["render", ".", "--size", "33"], "error: --views: at least 1; --size: an even number of at least 2"),
    ],
)
def test_mistakes_are_one_line_and_load_nothing_heavy(words, message, good):
    out, errors, code, modules = ask(*[good if word == "GOOD" else word for word in words])
    assert (code, out) == (2, "")
    assert errors == message.replace("GOOD", good)
    assert not set(HEAVY) & set(modules)


def test_a_format_that_cannot_be_written_is_refused_with_those_that_can():
    _, errors, code, _ = ask("export", ".", "--format", "fbx")
    assert code == 2 and errors.count("\n") == 0
    assert all(word in errors for word in ("fbx", "glb", "obj", "ply", "stl"))


def test_import_of_the_package_loads_nothing_heavy():
    code = "import threefusion, sys; threefusion.register; threefusion.Schedule; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True).stdout.split()
    assert not set(HEAVY) & set(loaded)


def test_check_looks_at_every_file(good, tmp_path):
    bad = tmp_path / "bad.yaml"
    bad.write_text("prompt: {text: a red car}\nsed: 3\n")
    out, errors, code, _ = ask("check", str(bad), good)
    assert (out.strip(), code) == (f"{good}: ok", 2)
    assert errors == f"{bad}:2: sed: unknown key of a run. Did you mean 'seed'?"


def test_json_holds_what_people_see(good):
    listed = json.loads(ask("list", "guidance", "--json")[0])
    expected = {"kind": "guidance", "name": "sds", "file": "threefusion/guidance/score.py"}
    assert any(expected.items() <= component.items() for component in listed["components"])
    described = json.loads(ask("describe", "guidance", "sds", "--json")[0])
    prior = next(field for field in described["fields"] if field["name"] == "prior")
    assert prior["default"] == "pixel" and {"gaussian", "latent", "pixel"} <= set(prior["options"])


def test_unknown_object_ends_before_anything_heavy_is_loaded(good, tmp_path):
    (tmp_path / "model").mkdir()
    vocabulary = {"object_words": {"car": "car"}, "classes": ["car"], "colors": ["red"], "known_words": ["a", "red", "car"]}
    (tmp_path / "model/toyworld.json").write_text(json.dumps(vocabulary))
    _, errors, code, modules = ask(
        "train", "--config", good, f"guidance.prior.model={tmp_path}/model", "--prompt", "a purple unicorn"
    )
    assert code == 2 and "knows no object in 'a purple unicorn'" in errors and "--anyway" in errors and "\n" not in errors
    assert not set(HEAVY) & set(modules)


def test_doctor_names_the_command_for_what_is_missing():
    found = json.loads(ask("doctor", "--json")[0])
    assert found["packages"]["torch"] and "pytest" not in found["packages"] and found["devices"][0]["name"] == "cpu"
    assert not found["optional"].keys() & found["packages"].keys() and "wandb" in found["packages"]
    assert found["optional"]["nerfacc"]["command"] == "python -m pip install nerfacc"
    floyd = found["models"]["deepfloyd-if-xl"]
    assert floyd["available"] or floyd["command"].startswith("hf download DeepFloyd/IF-I-XL-v1.0 ")
    assert "to be accepted on its page while logged in; 8.0 GiB of weights" in floyd["needs"]
    assert found["models"]["toyworld-pixel"]["licence"] == "Apache-2.0"
    found["packages"]["uvunwrap"] = None
    found["problems"] = ["plugin x could not be loaded: y"]
    page = as_page(found)
    assert "licence: FLUX.1 [dev] non-commercial licence" in page and "toyworld-pixel; licence: Apache-2.0" in page
    assert "MISSING uvunwrap" in page and "hf download" in page and page.endswith("  plugin x could not be loaded: y")
