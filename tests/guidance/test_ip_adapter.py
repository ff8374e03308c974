"""IP-Adapter on the latent prior: the pipeline's own samples, and files that do not fit."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_conditioned import save_tiny_ip_adapter
from views import make_batch

from threefusion.config.catalogue import settings_class
from threefusion.guidance.prior.conditioning import PromptConditioning
from threefusion.guidance.prior.files import ModelError
from threefusion.guidance.prior.settings import ControlNet, ReferencePicture
from threefusion.registry import build


@pytest.fixture(scope="module")
def files(tmp_path_factory, pipelines):
    return save_tiny_ip_adapter(tmp_path_factory.mktemp("ip-adapter"), pipelines["sd-epsilon"])


def prior(pipelines, *references, **settings):
    cfg = settings_class("prior", "latent")
    return build(cfg(model=str(pipelines["sd-epsilon"]), dtype="float32", reference=references, **settings))


def test_sampling_with_the_prior_is_the_pipeline(pipelines, files):
    from diffusers import StableDiffusionPipeline

    theirs = StableDiffusionPipeline.from_pretrained(pipelines["sd-epsilon"], local_files_only=True)
    weights = load_file(files["adapter"])
    state = {
        part: {name.removeprefix(f"{part}."): value for name, value in weights.items() if name.startswith(part)}
        for part in ("image_proj", "ip_adapter")
    }
    theirs.load_ip_adapter(state, subfolder="", weight_name="", image_encoder_folder=None)
    theirs.set_ip_adapter_scale(0.6)
    theirs.set_progress_bar_config(disable=True)
    own = prior(pipelines, ReferencePicture(**files, scale=0.6))
    text = own.text_encoder().encode(["a red ball", ""])
    prompt = own.condition(PromptConditioning(text[:1], text[1:], (text[:1],)), make_batch(1), None)
    shown = prompt.text.reference
    assert shown.abs().sum() > 0 and not prompt.uncond.reference.any() and not prompt.negatives[0].reference.any()
    z = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    expected = theirs(
        "a red ball", latents=z, num_inference_steps=4, guidance_scale=5.0, output_type="latent",
        ip_adapter_image_embeds=[torch.cat([torch.zeros_like(shown), shown])],
    ).images  # fmt: skip
    theirs.scheduler.set_timesteps(4)
    with torch.no_grad():
        for step in theirs.scheduler.timesteps:
            t = torch.full((1,), step / 1000)
            empty, told = (own.predict(z, t, condition).noise for condition in (prompt.uncond, prompt.text))
            z = theirs.scheduler.step(empty + 5.0 * (told - empty), step, z).prev_sample
        assert (z - expected).norm() < 1e-4 * expected.norm()
        plain = prior(pipelines).predict(z, torch.tensor([0.5]), replace(prompt.text, reference=None)).noise
        assert not torch.allclose(own.predict(z, torch.tensor([0.5]), prompt.text).noise, plain, atol=1e-3)


@pytest.mark.parametrize(
    ("dropped", "added", "problem"),
    [
        ("image_proj.norm.bias", {}, "expected the plain IP-Adapter"),
        ("ip_adapter.1.to_k_ip.weight", {}, r"ip_adapter\.1\.to_k_ip\.weight is missing"),
        (None, {"ip_adapter.99.to_k_ip.weight": torch.zeros(1)}, "is of another U-Net"),
        (None, {"ip_adapter.1.to_k_ip.weight": torch.zeros(8, 32)}, "has the shape"),
        (None, {"lora.down": torch.zeros(1)}, r"lora\.down is no weight of an IP-Adapter"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(pipelines, files, tmp_path, dropped, added, problem):
    weights = {name: value for name, value in load_file(files["adapter"]).items() if name != dropped} | added
    save_file(weights, tmp_path / "adapter.safetensors", {"format": "pt"})
    own = prior(pipelines, ReferencePicture(**files | {"adapter": str(tmp_path / "adapter.safetensors")}))
    with pytest.raises(ModelError, match=problem) as caught:
        own.load()
    assert len(str(caught.value).splitlines()) == 1


def test_a_reference_excludes_controls(pipelines, files):
    with pytest.raises(ValueError, match="reference: IP-Adapters are for the prior latent, without control"):
        prior(pipelines, ReferencePicture(**files), control=(ControlNet(),))
