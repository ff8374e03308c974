"""Models from a hub on loopback: fetched in part, read again without a network, and missing in one sentence."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from loopback_hub import serve
from tiny import save_tiny_sd

from threefusion.guidance.prior.models import MODELS

ROOT = Path(__file__).parents[2]
PARTS = ("unet", "scheduler", "vae", "text_encoder", "tokenizer")
RESOLVE = f"from threefusion.guidance.prior.models import resolve, ModelError\nprint(resolve('owner/name', {PARTS}))"
ALIAS = MODELS["stable-diffusion-2-1-base"].sources
UNREACHABLE = {"HF_ENDPOINT": "http://127.0.0.1:9"}
"""The discard port, on which nothing listens."""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A repository with more than a prior reads."""
    folder = save_tiny_sd(tmp_path_factory.mktemp("hub") / "model")
    for name in (
        "README.md",
        "v1-5-pruned.ckpt",
        "unet/diffusion_pytorch_model.bin",
        "unet/diffusion_pytorch_model.non_ema.safetensors",
    ):
        (folder / name).write_bytes(b"more than is read")
    (folder / "safety_checker").mkdir()
    (folder / "safety_checker" / "model.safetensors").write_bytes(b"not read either")
    return folder


def python(*words, **environment):
    """A process in which the hub's client reads the environment anew."""
    environment = {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""} | environment
    done = subprocess.run([sys.executable, *words], env=os.environ | environment, capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr or "ModelError" in done.stderr, done.stderr
    return done


def test_only_what_is_read_is_fetched_and_is_read_again_without_a_network(model, tmp_path):
    with serve({"owner/name": model}) as hub:
        environment = hub.environment(tmp_path)
        folder = python("-c", RESOLVE, **environment).stdout.strip()
        assert sorted(hub.downloads) == sorted(
            [f"{part}/config.json" for part in ("unet", "vae", "text_encoder")]
            + [f"{part}/diffusion_pytorch_model.safetensors" for part in ("unet", "vae")]
            + ["model_index.json", "scheduler/scheduler_config.json", "text_encoder/model.safetensors"]
            + ["tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json"]
        )
        hub.downloads.clear()
        assert python("-c", RESOLVE, **environment).stdout.strip() == folder and hub.downloads == []
    assert (Path(folder) / "unet" / "config.json").is_file()
    for offline in (UNREACHABLE, {"HF_HUB_OFFLINE": "1"}):
        assert python("-c", RESOLVE, **environment | offline).stdout.strip() == folder


def test_a_fetched_model_trains_resumes_and_is_planned_without_a_network(model, tmp_path):
    config = tmp_path / "run.yaml"
    text = (
        (ROOT / "tests" / "tiny.yaml")
        .read_text()
        .replace("{type: gaussian, image_size: 12}", "{type: latent, model: owner/name}")
    )
    config.write_text(text.replace("max_steps: 12", "max_steps: 2").replace("checkpoint_interval: 5", "checkpoint_interval: 1"))
    run, launch = str(tmp_path / "run"), str(ROOT / "launch.py")
    with serve({"owner/name": model}) as hub:
        environment = hub.environment(tmp_path / "home") | {"THREEFUSION_CACHE": str(tmp_path / "cache")}
        before = python(launch, "plan", str(config), **environment)
        assert "not on this machine" in before.stdout and hub.downloads == []
        assert python(launch, "train", "--config", str(config), "--out", run, **environment).returncode == 0
    done = python(launch, "train", "--resume", run, "trainer.max_steps=3", **environment)
    assert done.returncode == 0, done.stderr
    assert "not on this machine" not in python(launch, "plan", str(config), **environment).stdout


def test_the_doctor_knows_a_fetched_model_and_an_incomplete_one(model, tmp_path):
    with serve({ALIAS[0].repository: model}) as hub:
        environment = hub.environment(tmp_path)
        code = RESOLVE.replace("owner/name", "stable-diffusion-2-1-base")
        folder = Path(python("-c", code, **environment).stdout.strip())
    assert folder.name == ALIAS[0].revision

    def line():
        page = python(str(ROOT / "launch.py"), "doctor", **environment).stdout
        return next(line for line in page.splitlines() if " stable-diffusion-2-1-base " in line)

    assert f"latent, in {folder}" in line()
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    assert "incomplete" in line() and "vae/diffusion_pytorch_model.safetensors is missing" in line() and "hf download" in line()


def test_an_interrupted_download_is_continued_and_named_without_a_network(model, tmp_path):
    with serve({"owner/name": model}) as hub:
        environment = hub.environment(tmp_path)
        hub.broken["tokenizer/tokenizer.json"] = 9
        assert python("-c", RESOLVE, **environment).returncode == 1
        missing = python("-c", RESOLVE, **environment | UNREACHABLE).stderr.splitlines()[-1]
        assert "its copy in the hub's cache is incomplete: " in missing and "tokenizer has no vocabulary" in missing
        hub.broken.clear()
        hub.downloads.clear()
        assert python("-c", RESOLVE, **environment).returncode == 0
        assert hub.downloads == ["tokenizer/tokenizer.json"]


def test_a_missing_model_is_one_sentence_at_once_without_a_network(tmp_path):
    code = RESOLVE.replace("owner/name", "stable-diffusion-2-1-base")
    for environment in (UNREACHABLE, {"HF_ENDPOINT": "http://no-such-host.invalid"}):
        began = time.monotonic()
        done = python("-c", code, HF_HOME=str(tmp_path), **environment)
        # retries would take 23 seconds for each mirror
        assert time.monotonic() - began < 12
        assert "Retrying" not in done.stderr
        last = done.stderr.splitlines()[-1]
        assert f"({ALIAS[0].repository}: ConnectError: " in last and f"; {ALIAS[1].repository}: " not in last
        assert f"hf download {ALIAS[0].repository}" in last


def test_a_mirror_in_the_cache_needs_no_network_and_one_on_the_hub_stands_in_for_a_lost_repository(model, tmp_path):
    code = RESOLVE.replace("owner/name", "stable-diffusion-2-1-base")
    with serve({ALIAS[1].repository: model}) as hub:
        environment = hub.environment(tmp_path)
        folder = python("-c", code, **environment).stdout.strip()
        assert Path(folder).name == ALIAS[1].revision
    assert python("-c", code, **environment).stdout.strip() == folder


def test_weights_in_half_precision_and_in_shards_are_chosen_by_name(model, tmp_path):
    folder = shutil.copytree(model, tmp_path / "model")
    unet = folder / "unet"
    (unet / "diffusion_pytorch_model.safetensors").rename(unet / "diffusion_pytorch_model.fp16.safetensors")
    from diffusers import AutoencoderKL

    vae = AutoencoderKL.from_pretrained(model / "vae", use_safetensors=True)
    vae.save_pretrained(folder / "vae", max_shard_size="100KB")
    # the whole file beside the shards would be read first
    (folder / "vae" / "diffusion_pytorch_model.safetensors").unlink(missing_ok=True)
    with serve({"owner/name": folder}) as hub:
        environment = hub.environment(tmp_path / "home")
        assert python("-c", RESOLVE, **environment).returncode == 0
    of_unet = [name for name in hub.downloads if name.startswith("unet/")]
    assert sorted(of_unet) == ["unet/config.json", "unet/diffusion_pytorch_model.fp16.safetensors"]
    shards = [name for name in hub.downloads if name.startswith("vae/") and "-of-" in name]
    assert len(shards) > 1 and "vae/diffusion_pytorch_model.safetensors.index.json" in hub.downloads
