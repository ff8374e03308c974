"""A LoRA is added to the weights at the strength at which its own library would run it, or refused by name."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from threefusion.config.catalogue import settings_class
from threefusion.guidance.prior.files import ModelError
from threefusion.guidance.prior.original_names import original_names
from threefusion.guidance.prior.settings import LoraFile
from threefusion.registry import build

LAYERS = (
    "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",
    "mid_block.attentions.0.transformer_blocks.0.attn2.to_out.0",
    "up_blocks.0.attentions.1.transformer_blocks.0.ff.net.0.proj",
    "up_blocks.0.resnets.0.conv1",
    "down_blocks.0.downsamplers.0.conv",
    "time_embedding.linear_1",
)
TEXT_LAYERS = ("encoder.layers.0.self_attn.q_proj", "encoder.layers.1.self_attn.out_proj", "encoder.layers.1.mlp.fc1")
RANK = 4


def prior(folder, *loras, **settings):
    files = tuple(LoraFile(path=str(path), scale=scale) for path, scale in loras)
    return build(settings_class("prior", "latent")(model=str(folder), lora=files, **{"dtype": "float32"} | settings))


def network(folder):
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel.from_pretrained(folder / "unet").eval()


def encoder(folder):
    from transformers import CLIPTextModel

    return CLIPTextModel.from_pretrained(folder / "text_encoder").eval()


def matrices(model, layers, seed=0):
    """Random A and B of each layer."""
    generator, found = torch.Generator().manual_seed(seed), {}
    for name in layers:
        shape = model.get_submodule(name).weight.shape
        down = torch.randn(RANK, *shape[1:], generator=generator) * 0.3
        up = torch.randn(shape[0], RANK, *([1, 1] if len(shape) == 4 else []), generator=generator) * 0.3
        found[name] = (down, up)
    return found


@torch.no_grad()
def merged(model, changes, factor):
    """The model with `factor` B A added to its weights by hand."""
    for name, (down, up) in changes.items():
        weight = model.get_submodule(name).weight
        weight += factor * (up.reshape(len(up), RANK) @ down.reshape(RANK, -1)).reshape(weight.shape)
    return model


def output(unet):
    z, t, tokens = inputs()
    with torch.no_grad():
        return unet(z, t, tokens).sample


def inputs():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(2, 4, 8, 8, generator=generator), torch.tensor([500, 20]), torch.randn(2, 77, 32, generator=generator)


def same(own, unet):
    """Whether the prior's network computes what a plain one does, and what the plain one computes."""
    expected = output(unet)
    torch.testing.assert_close(output(own.network("unet", torch.float32)), expected, rtol=1e-5, atol=1e-6)
    return expected


def kohya(changes, prefix, alpha, names=None):
    """The keys of kohya's trainer."""
    found = {}
    for name, (down, up) in changes.items():
        flat = prefix + (names or {}).get(name, name).replace(".", "_")
        found |= {f"{flat}.lora_down.weight": down, f"{flat}.lora_up.weight": up}
        found |= {f"{flat}.alpha": torch.tensor(float(alpha))} if alpha else {}
    return found


def dotted(changes, prefix="", down="lora_A", up="lora_B"):
    return {
        f"{prefix}{name}.{key}.weight": value
        for name, pair in changes.items()
        for key, value in zip((down, up), pair, strict=True)
    }


def metadata(part="", **settings):
    """The header that diffusers writes."""
    from peft import LoraConfig

    about = LoraConfig(**{"r": RANK, "target_modules": list(LAYERS)} | settings).to_dict()
    about = {f"{part}{key}": sorted(value) if isinstance(value, set) else value for key, value in about.items()}
    return {"format": "pt", "lora_adapter_metadata": json.dumps(about)}


@pytest.fixture
def changes(pipelines):
    return matrices(network(pipelines["sd-epsilon"]), LAYERS)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "style.safetensors"


STYLES = {
    "kohya": lambda changes, unet: (kohya(changes, "lora_unet_", 2), None),
    "kohya, original names": lambda changes, unet: (kohya(changes, "lora_unet_", 2, original_names(unet)), None),
    "diffusers": lambda changes, unet: (dotted(changes, "unet."), metadata("unet.", lora_alpha=2)),
    "bare U-Net": lambda changes, unet: (dotted(changes), metadata(lora_alpha=2)),
    "alpha pattern": lambda changes, unet: (
        dotted(changes),
        metadata(lora_alpha=7, alpha_pattern={name.partition(".")[2]: 2 for name in LAYERS}),
    ),
    "rank stabilised": lambda changes, unet: (dotted(changes), metadata(lora_alpha=1, use_rslora=True)),
    "processors": lambda changes, unet: (dotted(changes, "unet.", "lora.down", "lora.up"), metadata("unet.", lora_alpha=2)),
}


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("scale", [1.0, 0.7])
def test_every_style_of_keys_is_added_at_scale_times_alpha_over_rank(pipelines, changes, file, style, scale):
    folder = pipelines["sd-epsilon"]
    weights, header = STYLES[style](changes, network(folder))
    save_file({key: value.contiguous() for key, value in weights.items()}, file, header)
    changed = same(prior(folder, (file, scale)), merged(network(folder), changes, scale * 2 / RANK))
    assert (changed - output(network(folder))).abs().max() > 0.01


def test_attention_processors_of_older_files(pipelines, file):
    folder = pipelines["sd-epsilon"]
    changes = matrices(network(folder), LAYERS[:2])
    renamed = {"to_q": "processor.to_q_lora", "to_out.0": "processor.to_out_lora"}
    keys = {}
    for name, (down, up) in changes.items():
        head, end = next((name.removesuffix(end), renamed[end]) for end in renamed if name.endswith(end))
        keys |= {f"unet.{head}{end}.down.weight": down, f"unet.{head}{end}.up.weight": up}
    save_file(keys, file)
    # without an alpha the rank is taken, as diffusers does
    own = prior(folder, (file, 1.0))
    same(own, merged(network(folder), changes, 1.0))
    assert "rank 4, no alpha" in str(own.loras[0])


def test_a_file_of_peft_needs_its_settings_beside_it(pipelines, changes, file):
    folder = pipelines["sd-epsilon"]
    save_file(dotted(changes, "base_model.model."), file)
    with pytest.raises(ModelError, match=r"needs adapter_config.json beside it"):
        prior(folder, (file, 1.0)).load()
    file.with_name("adapter_config.json").write_text(json.dumps({"r": RANK, "lora_alpha": 2}))
    same(prior(folder, (file, 1.0)), merged(network(folder), changes, 2 / RANK))


def with_adapter(folder, dropout=0.5):
    """A U-Net with a LoRA of peft's, whose strength is 1.5 and whose dropout is on."""
    from peft import LoraConfig

    torch.manual_seed(3)
    unet = network(folder)
    unet.add_adapter(LoraConfig(r=RANK, lora_alpha=6, target_modules=["to_q", "to_v", "conv1"], lora_dropout=dropout))
    for name, weight in unet.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(weight, std=0.2)
    return unet


@pytest.mark.parametrize("saved_by", ["the U-Net", "the pipeline"])
def test_what_diffusers_saves_comes_back_at_full_strength(pipelines, tmp_path, saved_by):
    from diffusers import StableDiffusionPipeline
    from peft.utils import get_peft_model_state_dict

    folder = pipelines["sd-epsilon"]
    unet = with_adapter(folder)
    if saved_by == "the U-Net":
        unet.save_lora_adapter(tmp_path / "lora")
    else:
        about = {"unet_lora_adapter_metadata": unet.peft_config["default"].to_dict()}
        StableDiffusionPipeline.save_lora_weights(tmp_path / "lora", get_peft_model_state_dict(unet), **about)
    own = prior(folder, (tmp_path / "lora" / "pytorch_lora_weights.safetensors", 1.0))
    changed = same(own, unet.eval())
    assert (changed - output(network(folder))).abs().max() > 0.01
    assert "rank 4, alpha 6" in str(own.loras[0])


@pytest.mark.parametrize("style", ["kohya", "diffusers", "bare U-Net"])
def test_diffusers_reads_the_same_strength(pipelines, changes, file, style):
    """The pipeline's own reading, where it has one; a bare U-Net's only with prefix=None."""
    from diffusers import StableDiffusionPipeline

    folder = pipelines["sd-epsilon"]
    weights, header = STYLES[style]({name: changes[name] for name in LAYERS[:3]}, None)
    save_file(weights, file, header)
    pipeline = StableDiffusionPipeline.from_pretrained(folder, local_files_only=True)
    if style == "bare U-Net":
        pipeline.unet.load_lora_adapter(file.parent, weight_name=file.name, prefix=None)
    else:
        pipeline.load_lora_weights(file.parent, weight_name=file.name)
    same(prior(folder, (file, 1.0)), pipeline.unet.eval())


def test_a_loaded_lora_has_no_dropout_and_no_parameters_of_its_own(pipelines, tmp_path):
    with_adapter(pipelines["sd-epsilon"]).save_lora_adapter(tmp_path)
    own = prior(pipelines["sd-epsilon"], (tmp_path / "pytorch_lora_weights.safetensors", 1.0))
    unet = own.network("unet", torch.float32)
    assert torch.equal(output(unet), output(unet))
    assert not unet.training and not any(weight.requires_grad for weight in unet.parameters())
    assert {name for name, _ in unet.named_parameters()} == {
        name for name, _ in network(pipelines["sd-epsilon"]).named_parameters()
    }


def test_scale_0_is_the_model_itself(pipelines, changes, file):
    save_file(kohya(changes, "lora_unet_", 2), file)
    own, plain = prior(pipelines["sd-epsilon"], (file, 0.0)), prior(pipelines["sd-epsilon"])
    assert torch.equal(*(output(each.network("unet", torch.float32)) for each in (own, plain)))


def test_several_are_added_up(pipelines, changes, file):
    folder, other = pipelines["sd-epsilon"], file.with_name("other.safetensors")
    more = matrices(network(folder), LAYERS[:1], seed=5)
    save_file(kohya(changes, "lora_unet_", 2), file)
    save_file(dotted(more, "unet."), other)
    expected = merged(merged(network(folder), changes, 0.5), more, -2.0)
    same(prior(folder, (file, 1.0), (other, -2.0)), expected)


def test_a_small_change_survives_a_model_in_half_precision(pipelines, tmp_path, file):
    """Rounded to float16 after the sum, a change below half a unit in the last place would be lost."""
    import shutil

    folder = shutil.copytree(pipelines["sd-epsilon"], tmp_path / "half")
    stored = folder / "unet" / "diffusion_pytorch_model.safetensors"
    save_file({key: value.half() for key, value in load_file(stored).items()}, stored, {"format": "pt"})
    changes = {name: (down * 1e-3, up) for name, (down, up) in matrices(network(folder), LAYERS[:1]).items()}
    save_file(kohya(changes, "lora_unet_", RANK), file)
    same(prior(folder, (file, 1.0)), merged(network(folder), changes, 1.0))


def test_the_text_encoder_is_changed_too_and_the_cache_knows_it(pipelines, file):
    folder = pipelines["sd-epsilon"]
    changes = matrices(encoder(folder), TEXT_LAYERS)
    plain = prior(folder).text_encoder()
    embeddings = {"plain": plain.encode(["a red ball"]).tokens}
    for style in ("kohya", "diffusers"):
        prefixed = {f"text_model.{name}": pair for name, pair in changes.items()}
        kinds = {
            "kohya": (kohya(prefixed, "lora_te_", 2), None),
            "diffusers": (dotted(changes, "text_encoder."), metadata("text_encoder.", lora_alpha=2)),
        }
        save_file(*kinds[style][:1], file, kinds[style][1])
        own = prior(folder, (file, 0.5)).text_encoder()
        assert own.key != plain.key and own.key != prior(folder, (file, 0.4)).text_encoder().key
        ids = own.networks[0].tokenizer()(["a red ball"], padding="max_length", max_length=77, return_tensors="pt").input_ids
        with torch.no_grad():
            expected = merged(encoder(folder), changes, 0.5 * 2 / RANK)(ids).last_hidden_state
        embeddings[style] = own.encode(["a red ball"]).tokens
        torch.testing.assert_close(embeddings[style], expected, rtol=1e-5, atol=1e-5)
    assert (embeddings["kohya"] - embeddings["plain"]).abs().max() > 0.01


def test_a_lora_of_the_unet_alone_leaves_the_cached_embeddings(pipelines, changes, file):
    save_file(kohya(changes, "lora_unet_", 2), file)
    assert prior(pipelines["sd-epsilon"], (file, 1.0)).text_encoder().key == prior(pipelines["sd-epsilon"]).text_encoder().key


@pytest.mark.usefixtures("terminal")
def test_what_was_applied_is_one_line(pipelines, changes, file, capsys):
    text = matrices(encoder(pipelines["sd-epsilon"]), TEXT_LAYERS)
    save_file(
        kohya(changes, "lora_unet_", 2) | kohya({f"text_model.{name}": pair for name, pair in text.items()}, "lora_te_", 1), file
    )
    own = prior(pipelines["sd-epsilon"], (file, 0.7))
    for _ in range(2):
        own.load()
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "LoRA" in line]
    layers = "3 layers of the text encoder and 6 layers of the unet"
    assert line == f"LoRA {file}: {layers} changed at scale 0.7 (rank 4, alpha 2; rank 4, alpha 1)"


def refused(folder, file, weights, header=None):
    save_file({key: value.contiguous() for key, value in weights.items()}, file, header)
    with pytest.raises(ModelError) as caught:
        own = prior(folder, (file, 1.0))
        own.text_encoder()
        own.load()
    assert str(file) in str(caught.value) and "\n" not in str(caught.value)
    return str(caught.value)


A, B = torch.ones(RANK, 16), torch.ones(16, RANK)
FAULTS = {
    "matches no layer of the model's unet": {"unet.nowhere.to_q.lora_A.weight": A, "unet.nowhere.to_q.lora_B.weight": B},
    "lora_unet_nowhere.lora_down.weight matches no layer": {
        "lora_unet_nowhere.lora_down.weight": A,
        "lora_unet_nowhere.lora_up.weight": B,
    },
    "1 of 1 layers belong to text_encoder_2, which the prior does not have": {
        "lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": A,
        "lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_up.weight": B,
    },
    "do not fit a weight of (64, 16)": {"time_embedding.linear_1.lora_A.weight": A, "time_embedding.linear_1.lora_B.weight": B},
    "has no up weight beside it": {"unet.conv_in.lora_A.weight": A},
    "belongs to a DoRA": {"lora_unet_conv_in.dora_scale": A},
    "belongs to a LoHa": {"lora_unet_conv_in.hada_w1_a": A},
    "belongs to a LoKr": {"lora_unet_conv_in.lokr_w1": A},
    "is no weight of a LoRA": {"conv_in.weight": A},
    "holds no weights": {},
}


@pytest.mark.parametrize("words", FAULTS)
def test_what_is_no_fitting_lora_is_refused_by_name(pipelines, file, words):
    assert words in refused(pipelines["sd-epsilon"], file, FAULTS[words])


def test_values_that_are_not_finite_are_refused(pipelines, changes, file):
    changes[LAYERS[0]][0][0, 0] = torch.inf
    assert "holds values that are not finite" in refused(pipelines["sd-epsilon"], file, kohya(changes, "lora_unet_", 2))


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"use_dora": True}, "DoRA is not supported"), ({"init_lora_weights": "pissa_niter_4"}, "base weights")],
)
def test_settings_that_are_more_than_a_sum_are_refused(pipelines, changes, file, settings, words):
    header = metadata(lora_alpha=2, **settings)
    assert words in refused(pipelines["sd-epsilon"], file, dotted(changes), header)


def test_a_pickle_and_a_missing_file_are_refused(pipelines, tmp_path):
    torch.save({"a": torch.zeros(1)}, tmp_path / "lora.bin")
    for name, words in {"lora.bin": "a pickle", "missing.safetensors": "no such file"}.items():
        with pytest.raises(ModelError, match=f"{name}: {words}"):
            prior(pipelines["sd-epsilon"], (tmp_path / name, 1.0)).load()


def test_the_second_text_encoder_of_stable_diffusion_xl_is_changed_too(pipelines, file):
    from transformers import CLIPTextModelWithProjection

    folder = pipelines["sdxl"]
    second = CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder_2").eval()
    changes = matrices(second, ["text_model.encoder.layers.0.mlp.fc1"])
    save_file(kohya(changes, "lora_te2_", 2), file)
    own, plain = prior(folder, (file, 1.0)).text_encoder(), prior(folder).text_encoder()
    ids = own.networks[1].tokenizer()(["a red ball"], padding="max_length", max_length=77, return_tensors="pt").input_ids
    with torch.no_grad():
        expected = merged(second, changes, 2 / RANK)(ids, output_hidden_states=True)
    found = own.encode(["a red ball"])
    torch.testing.assert_close(found.tokens[..., 32:], expected.hidden_states[-2], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.pooled, expected.text_embeds, rtol=1e-4, atol=1e-5)
    assert torch.equal(found.tokens[..., :32], plain.encode(["a red ball"]).tokens[..., :32])
    assert own.key != plain.key
