"""Stage II of DeepFloyd IF: the pipeline's own samples, and what the prior asks of render and model."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from tiny_conditioned import save_tiny_if_ii
from views import evaluate, gaussian_texts, make_batch, prompt_of

from threefusion.config.catalogue import settings_class
from threefusion.guidance.embedding import TextEmbeddings
from threefusion.guidance.prior.conditioning import Conditioning, PromptConditioning
from threefusion.guidance.prior.files import ModelError
from threefusion.registry import build
from threefusion.testing import image_render

SMALL = torch.rand(1, 4, 4, 3, generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory):
    return save_tiny_if_ii(tmp_path_factory.mktemp("if-ii") / "model")


@pytest.fixture
def folder(pipeline, tmp_path):
    return shutil.copytree(pipeline, tmp_path / "model")


def prior(folder, kind="super-resolution", **settings):
    return build(settings_class("prior", kind)(model=str(folder), **{"dtype": "float32"} | settings))


def change(folder, part, **changes):
    file = folder / part / ("config.json" if part == "unet" else "scheduler_config.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return file


def randn(seed, *shape):
    return torch.randn(1, *shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("noise_level", [0, 250, 999])
def test_sampling_with_the_prior_is_the_pipeline(pipeline, noise_level):
    from diffusers import DDIMScheduler, IFSuperResolutionPipeline

    theirs = IFSuperResolutionPipeline.from_pretrained(pipeline, local_files_only=True)
    theirs.scheduler = DDIMScheduler.from_config(theirs.scheduler.config)
    theirs.scheduler.register_to_config(variance_type="fixed_small")  # which the pipeline reads of every scheduler
    theirs.set_progress_bar_config(disable=True)
    image = theirs(
        "a red ball", image=SMALL.permute(0, 3, 1, 2) * 2 - 1, generator=torch.Generator().manual_seed(7), output_type="pt",
        num_inference_steps=5, guidance_scale=4.0, noise_level=noise_level,
    ).images  # fmt: skip
    own = prior(pipeline, noise_level=noise_level)
    generator = torch.Generator().manual_seed(7)
    z, noise = (torch.randn(1, 3, 16, 16, generator=generator) for _ in range(2))
    texts = own.text_encoder().encode(["", "a red ball"])
    low = own.low_resolution(SMALL, noise).expand(2, -1, -1, -1)
    theirs.scheduler.set_timesteps(5)
    with torch.no_grad():
        for step in theirs.scheduler.timesteps:
            t = torch.full((2,), step / 1000)
            empty, text = own.predict(z.expand(2, -1, -1, -1), t, replace(texts, image=low)).noise
            z = theirs.scheduler.step(empty + 4.0 * (text - empty), step, z).prev_sample
    assert (z - image).norm() < 1e-4 * image.norm()


@pytest.mark.parametrize("channels", [3, 6])
def test_a_prediction_is_that_of_the_network(tmp_path, channels):
    from diffusers import UNet2DConditionModel

    folder = save_tiny_if_ii(tmp_path / "model", channels)
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    own, z, low = prior(folder), randn(0, 3, 16, 16), randn(1, 3, 16, 16)
    text = own.text_encoder().encode(["a red ball"])
    with torch.no_grad():
        expected = unet(torch.cat([z, low], 1), 500, text.tokens, class_labels=torch.tensor([250])).sample[:, :3]
        own_noise = own.predict(z, torch.tensor([0.5]), replace(text, image=low)).noise
    torch.testing.assert_close(own_noise, expected, rtol=1e-4, atol=1e-5)


def test_the_low_resolution_image_is_the_render_under_every_condition_and_has_no_gradient(pipeline):
    own, batch = prior(pipeline, noise_level=0), make_batch(2)
    image = torch.rand(2, 32, 32, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    tokens = Conditioning(torch.zeros(2, 1, 32))
    prompt = own.condition(PromptConditioning(tokens, tokens, (tokens,)), batch, image_render(image))
    assert torch.equal(prompt.text.image, prompt.uncond.image) and torch.equal(prompt.text.image, prompt.negatives[0].image)
    assert not prompt.text.image.requires_grad
    # at noise level 0 almost the picture itself
    expected = torch.nn.functional.adaptive_avg_pool2d(image.detach().permute(0, 3, 1, 2) * 2 - 1, 4)
    corners = prompt.text.image[:, :, ::5, ::5]
    assert (corners - expected).abs().mean() < 0.1
    other = own.condition(PromptConditioning(tokens, tokens), make_batch(2, step=1), image_render(image))
    assert not torch.equal(other.text.image, prompt.text.image)


def test_the_low_resolution_image_can_be_that_of_the_start(pipeline):
    own, batch = prior(pipeline, of_start=True), make_batch(2)
    assert own.wants.source and not prior(pipeline).wants.source
    tokens = Conditioning(torch.zeros(2, 1, 32))
    start, render = (image_render(torch.rand(2, 16, 16, 3)) for _ in range(2))
    both = PromptConditioning(tokens, tokens)
    found = own.condition(both, batch, replace(render, source=start)).text.image
    assert torch.equal(found, prior(pipeline).condition(both, batch, start).text.image)
    assert not torch.equal(found, prior(pipeline).condition(both, batch, render).text.image)


def test_an_objective_on_normals_enlarges_normals(pipeline):
    own = prior(pipeline, noise_level=0)
    guidance = build(settings_class("guidance", "sds")(input="normal"), own)
    seen = []
    own.low_resolution = lambda rgb, noise: seen.append(rgb) or torch.zeros_like(noise)
    render = image_render(torch.rand(2, 16, 16, 3))
    guidance.embeddings = gaussian_texts()
    guidance.embed(prompt_of(guidance.embeddings, 2), make_batch(2), render)
    assert torch.equal(seen[0], 0.5 * (render.normal + 1))


def test_a_step_has_a_finite_gradient_and_calls_the_network_once(pipeline):
    own = prior(pipeline)
    guidance = build(settings_class("guidance", "sds")(), own)
    texts = own.text_encoder().encode(["text", ""])
    image = torch.rand(2, 32, 32, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    evaluate(guidance, image, TextEmbeddings(["text", ""], texts), make_batch(2)).loss.backward()
    assert image.grad.isfinite().all() and (image.grad.abs().amax((1, 2, 3)) > 0).all()
    assert own.evaluations.calls == 1 and own.evaluations.images == 4


def refused(folder, match, **settings):
    own = prior(folder, **settings)
    with pytest.raises(ModelError, match=match) as caught:
        _ = own.shape, own.schedule, own.load()
    assert len(str(caught.value).splitlines()) == 1


def test_what_cannot_be_honoured_is_refused_by_file_and_field(folder, pipelines):
    refused(pipelines["if-6"], "has no image_noising_scheduler/")
    refused(folder, r"noise_level: expected a timestep below 1000, not 1000", noise_level=1000)
    refused(folder, r"upscale: expected a divisor of the image's size 16, not 3", upscale=3)
    change(folder, "image_noising_scheduler", beta_schedule="sigmoid")
    refused(folder, r"image_noising_scheduler/scheduler_config\.json: beta_schedule is \"sigmoid\"")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"class_embed_type": None}, "class_embed_type"),
        ({"in_channels": 3}, "in_channels"),
        ({"out_channels": 12}, "out_channels"),
    ],
)
def test_a_network_that_does_not_enlarge_is_refused(folder, changes, field):
    change(folder, "unet", **changes)
    refused(folder, rf"unet/config\.json: {field} is ")


def test_other_priors_name_this_one(pipeline):
    own = prior(pipeline, "pixel")
    with pytest.raises(ModelError, match="`super-resolution`"):
        own.load()
