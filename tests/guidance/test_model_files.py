"""A folder is a model only if every file that is read is there and whole; the first one at fault is named."""

import json
import shutil

import pytest
from tiny import save_tiny_if, save_tiny_sd

from threefusion.guidance.prior.files import TEXT_PARTS, defect, fingerprint, network_files
from threefusion.guidance.prior.hub import wanted

PARTS = ("unet", "scheduler", "vae", *TEXT_PARTS)
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    return {"sd": save_tiny_sd(folder / "sd"), "if": save_tiny_if(folder / "if")}


@pytest.fixture
def model(saved, tmp_path):
    return shutil.copytree(saved["sd"], tmp_path / "model")


def half(file):
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def dangling(file):
    file.unlink()
    file.symlink_to("../../blobs/0123")


DAMAGES = {
    "is missing": lambda file: file.unlink(),
    "is empty": lambda file: file.write_bytes(b""),
    "is a link to nothing": dangling,
    "is a pointer of git-lfs": lambda file: file.write_text(POINTER),
}


def test_what_diffusers_saved_is_complete(saved):
    assert defect(saved["sd"], PARTS) is None
    assert defect(saved["if"], ("unet", "scheduler", *TEXT_PARTS)) is None


@pytest.mark.parametrize("words", DAMAGES)
@pytest.mark.parametrize(
    "name",
    ["unet/config.json", "unet/diffusion_pytorch_model.safetensors", "vae/config.json", "vae/diffusion_pytorch_model.safetensors",
     "scheduler/scheduler_config.json", "text_encoder/config.json", "text_encoder/model.safetensors"],
)  # fmt: skip
def test_a_damaged_file_is_named(model, name, words):
    DAMAGES[words](model / name)
    assert f"{model / name} {words}" in defect(model, PARTS)


def test_a_cut_file_is_named_with_its_length(model):
    file = model / "unet" / "diffusion_pytorch_model.safetensors"
    size = file.stat().st_size
    half(file)
    assert defect(model, PARTS) == f"{file} is cut off: {size // 2} of {size} bytes"
    file.write_bytes(file.read_bytes()[:100])
    assert defect(model, PARTS) == f"{file} is cut off or no safetensors file"
    file.write_bytes(b"{}")
    assert defect(model, PARTS) == f"{file} is cut off or no safetensors file"


@pytest.mark.parametrize(
    "name", ["unet/config.json", "scheduler/scheduler_config.json", "tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json"]
)
def test_cut_settings_are_named(model, name):
    half(model / name)
    assert f"{model / name}: cannot be read" in defect(model, PARTS)


def shard(folder, where="{stem}-{number}{dot}", variant=""):
    """Split a network's weights in two, as the libraries do."""
    from safetensors.torch import load_file, save_file

    (file,) = folder.glob("*.safetensors")
    weights, dot, stem = load_file(file), variant and f".{variant}", file.stem
    file.unlink()
    names = [where.format(stem=stem, number=f"0000{i}-of-00002", dot=dot) + ".safetensors" for i in (1, 2)]
    index = {key: names[i % 2] for i, key in enumerate(weights)}
    for name in names:
        save_file({key: weights[key] for key in index if index[key] == name}, folder / name, metadata={"format": "pt"})
    (folder / f"{stem}.safetensors.index{dot}.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    return [folder / name for name in names]


@pytest.mark.parametrize("part", ["unet", "text_encoder"])
@pytest.mark.parametrize(
    ("where", "variant"), [("{stem}-{number}{dot}", ""), ("{stem}-{number}{dot}", "fp16"), ("{stem}{dot}-{number}", "fp16")]
)
def test_every_shard_of_an_index_is_needed(model, part, where, variant):
    shards = shard(model / part, where, variant)
    assert defect(model, PARTS) is None
    found, files = network_files(model / part)
    assert found == variant and set(shards) < set(files) and len(files) == 3
    assert set(wanted([f"{part}/{file.name}" for file in (model / part).iterdir()], [part])) == {
        f"{part}/{file.name}" for file in (model / part).iterdir()
    }
    shards[1].unlink()
    assert defect(model, PARTS) == f"{shards[1]} is missing"


@pytest.mark.parametrize("content", ["{}", '{"weight_map": []}', '{"weight_map": {"conv_in.weight": 1}}'])
def test_an_index_without_weights_is_named(model, content):
    shard(model / "unet")
    index = model / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(content)
    assert defect(model, PARTS) == f"{index} has no weight_map"


@pytest.mark.parametrize(
    "name", ["pytorch_lora_weights.safetensors", "diffusion_pytorch_model.non_ema.safetensors", "diffusion_pytorch_model.bin"]
)
def test_weights_of_another_name_are_not_read(model, name):
    (model / "unet" / "diffusion_pytorch_model.safetensors").rename(model / "unet" / name)
    assert defect(model, PARTS).endswith(f"diffusion_pytorch_model.safetensors is missing (there is {name}, which is not read)")


def test_a_stray_file_in_half_precision_does_not_hide_the_weights(model):
    (model / "unet" / "pytorch_lora_weights.fp16.safetensors").write_bytes(b"stray")
    variant, files = network_files(model / "unet")
    assert variant == "" and [file.name for file in files] == ["diffusion_pytorch_model.safetensors"]


def test_an_interrupted_variant_does_not_hide_the_whole_one(model):
    file = model / "unet" / "diffusion_pytorch_model.safetensors"
    shutil.copy(file, file.with_suffix(".fp16.safetensors"))
    assert network_files(model / "unet")[0] == "fp16"
    half(file.with_suffix(".fp16.safetensors"))
    assert network_files(model / "unet") == ("", [file]) and defect(model, PARTS) is None


@pytest.mark.parametrize("name", ["sd", "if"])
def test_a_tokenizer_without_its_vocabulary_is_named(saved, tmp_path, name):
    folder = shutil.copytree(saved[name], tmp_path / "model")
    (folder / "tokenizer" / "tokenizer.json").unlink()
    assert defect(folder, TEXT_PARTS).startswith(
        f"{folder / 'tokenizer'} has no vocabulary: expected tokenizer.json, or spiece.model"
    )


def byte_pairs(folder, words=("red", "ball")):
    """The two files of a byte-pair tokenizer, as CLIP's, in place of its one file."""
    letters = sorted(set("".join(words)))
    vocabulary, merges = [*letters, *(f"{letter}</w>" for letter in letters)], ["#version: 0.2"]
    for word in words:
        done = word[0]
        for position, letter in enumerate(word[1:], 2):
            merges.append(f"{done} {letter}" + "</w>" * (position == len(word)))
            done += letter
            vocabulary.append(done + "</w>" * (position == len(word)))
    vocabulary += ["<|startoftext|>", "<|endoftext|>"]
    (folder / "tokenizer.json").unlink()
    (folder / "vocab.json").write_text(json.dumps({token: i for i, token in enumerate(vocabulary)}))
    (folder / "merges.txt").write_text("\n".join(merges) + "\n")


def test_both_files_of_a_byte_pair_tokenizer_are_needed_whole(model):
    folder = model / "tokenizer"
    byte_pairs(folder)
    assert defect(model, TEXT_PARTS) is None
    merges = (folder / "merges.txt").read_text()
    (folder / "merges.txt").write_text(merges[: len(merges) // 2])
    assert defect(model, TEXT_PARTS) == f"{folder / 'merges.txt'} is cut off: it lacks 4 of the 5 merges that vocab.json needs"
    (folder / "merges.txt").unlink()
    assert defect(model, TEXT_PARTS) == f"{folder / 'merges.txt'} is missing"


def test_a_fingerprint_covers_what_is_read_and_not_where_it_lies(model, tmp_path):
    first = fingerprint(model)
    snapshot = tmp_path / "models--a--b" / "snapshots" / "c0ffee"
    shutil.copytree(model, snapshot)
    assert fingerprint(snapshot) == first
    # a hub's commit alone would keep the embeddings of an interrupted download
    (snapshot / "tokenizer" / "tokenizer.json").unlink()
    assert fingerprint(snapshot) != first
    (model / "text_encoder" / "README.md").write_text("a card")
    assert fingerprint(model) == first
    for name in ("tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json", "text_encoder/config.json"):
        content = (model / name).read_text()
        (model / name).write_text(content + " ")
        assert fingerprint(model) != first
        (model / name).write_text(content)
    assert fingerprint(model) == first


def test_a_large_file_in_the_hubs_cache_is_known_by_its_name_there(model, tmp_path, monkeypatch):
    monkeypatch.setattr("threefusion.guidance.prior.files._LARGE", 100)
    weights, blobs = model / "text_encoder" / "model.safetensors", tmp_path / "blobs"
    blobs.mkdir()
    prints = []
    for name in ("aa", "bb", "aa"):
        shutil.copy(weights, blobs / name)
        weights.unlink()
        weights.symlink_to(blobs / name)
        prints.append(fingerprint(model))
    assert prints[0] == prints[2] != prints[1]
