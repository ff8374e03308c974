"""The environment that tests run in, set before torch is imported; fuzzing; the tiny run."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from threefusion.cli.terminal import Terminal
from threefusion.messages import Message, listening

# What a machine sets for its own runs must not reach a test's: an offline hub, a disabled logger, a batch job's ranks.
_FOREIGN = ("HF_", "HUGGING", "TRANSFORMERS_", "DIFFUSERS_", "WANDB_", "SLURM_", "TORCHELASTIC_", "THREEFUSION_", "OMPI_", "PMI_")
_RANKS = {"RANK", "LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
_OF_TESTS = ("THREEFUSION_GLTF_VALIDATOR", "THREEFUSION_GLTF_SAMPLES", "THREEFUSION_THREE")
for _name in list(os.environ):
    if (_name.startswith(_FOREIGN) or _name in _RANKS) and _name not in _OF_TESTS:
        del os.environ[_name]
# servers of tests listen on loopback, which no proxy reaches
os.environ["no_proxy"] = os.environ["NO_PROXY"] = ",".join(filter(None, [os.environ.get("no_proxy"), "localhost,127.0.0.1"]))

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# one worker per core: more threads would only get into each other's way
os.environ.setdefault("OMP_NUM_THREADS", "1")

# HYPOTHESIS_PROFILE=full is the long search; `ci`, the default, repeats the same short one
_common = {"deadline": None, "suppress_health_check": list(HealthCheck), "print_blob": True}
settings.register_profile("ci", max_examples=40, derandomize=True, database=None, **_common)
settings.register_profile("full", max_examples=5_000, **_common)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(autouse=True)
def _environment():
    """What a test sets in the environment ends with it."""
    before = dict(os.environ)
    yield
    for name in (os.environ.keys() | before.keys()) - {"PYTEST_CURRENT_TEST"}:
        if name in before:
            os.environ[name] = before[name]
        else:
            del os.environ[name]


@pytest.fixture
def heard() -> Iterator[list[Message]]:
    """The messages that are sent during a test."""
    messages: list[Message] = []
    with listening(messages.append):
        yield messages


@pytest.fixture
def terminal() -> Iterator[None]:
    """What is said during a test is printed, as in a command."""
    with listening(Terminal()):
        yield


@pytest.fixture
def tiny() -> Path:
    """A config small enough for whole runs in tests."""
    return Path(__file__).parent / "tiny.yaml"


def pytest_collection_modifyitems(items):
    """Tests marked `gpu` are skipped where torch sees none."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked:
        import torch

        if not torch.cuda.is_available():
            for item in marked:
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory):
    """A tiny CLIPModel with random weights, a tokenizer and a preprocessor."""
    import json

    import torch
    from transformers import CLIPConfig, CLIPModel

    from training.text import build_tokenizer

    folder = tmp_path_factory.mktemp("clip")
    tokenizer = build_tokenizer(start=True)
    common = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    ids = {"pad_token_id": 0, "bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    text = {**common, **ids, "vocab_size": len(tokenizer), "max_position_embeddings": 16}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vision = {**common, "image_size": 16, "patch_size": 8}
        model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=16))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    settings = {"size": {"shortest_edge": 16}, "crop_size": 16, "image_mean": [0.5] * 3, "image_std": [0.25] * 3}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    return folder
