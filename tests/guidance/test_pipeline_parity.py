"""A prior that drives a sampler draws the image that diffusers' own pipeline draws with the same weights, texts and noise.

Real weights are not at hand here: that the real models are used rightly rests on these tests, with random ones of their shape.
"""

import diffusers
import pytest
import torch
from sampling import draw

from threefusion.config.catalogue import settings_class
from threefusion.registry import build

PROMPT, NEGATIVE = "A small red Ball", "ugly"
STEPS, SCALE = 4, 5.0
TOLERANCE = 1e-4
"""Relative, in float32."""


def prior_of(kind, folder, **settings):
    return build(settings_class("prior", kind)(model=str(folder), dtype="float32", **settings))


def noise_for(prior):
    return torch.randn(1, *prior.shape, generator=torch.Generator().manual_seed(0))


def assert_same(own, theirs):
    assert own.shape == theirs.shape
    assert (own - theirs).norm() / theirs.norm() < TOLERANCE


def compare(prior, pipeline, negative, noise, latents, **options):
    """Both draw from `noise`; `latents` are the pipeline's as the prior has them."""
    options |= {"prompt": PROMPT, "negative_prompt": negative, "num_inference_steps": STEPS, "latents": noise}
    pipeline.set_progress_bar_config(disable=True)
    with torch.no_grad():
        theirs = latents(pipeline(**options, output_type="latent").images)
        image = pipeline(**options, output_type="pt").images
    scale = options.get("true_cfg_scale", SCALE)
    own = draw(prior, pipeline.scheduler, noise_for(prior), [PROMPT] if scale == 1 else [negative or "", PROMPT], scale)
    assert_same(own, theirs)
    assert_same(prior.decode(own), image.permute(0, 2, 3, 1))
    assert image.std() > 0.01, "an empty image proves nothing"


@pytest.mark.parametrize("negative", [None, NEGATIVE])
@pytest.mark.parametrize("name", ["sd-epsilon", "sd-v", "sdxl", "sdxl-encoded"])
def test_a_latent_prior_draws_what_the_pipeline_draws(pipelines, name, negative):
    pipeline = diffusers.DiffusionPipeline.from_pretrained(pipelines[name], local_files_only=True, add_watermarker=False)
    pipeline.scheduler = diffusers.DDIMScheduler.from_config(pipeline.scheduler.config, clip_sample=False)
    prior = prior_of("latent", pipelines[name])
    noise = noise_for(prior)
    compare(prior, pipeline, negative, noise, lambda latents: latents, guidance_scale=SCALE)


@pytest.mark.parametrize("negative", [None, NEGATIVE])
def test_a_pixel_prior_draws_what_the_pipeline_draws(pipelines, negative):
    pipeline = diffusers.IFPipeline.from_pretrained(pipelines["if-6"], local_files_only=True)
    pipeline.scheduler = diffusers.DDIMScheduler.from_config(pipeline.scheduler.config)
    # by this field the pipeline knows that the sampler has no use for the network's variance
    pipeline.scheduler.register_to_config(variance_type="fixed_small")
    pipeline.set_progress_bar_config(disable=True)
    prior = prior_of("pixel", pipelines["if-6"])
    options = {"prompt": PROMPT, "negative_prompt": negative, "num_inference_steps": STEPS, "guidance_scale": SCALE}
    image = pipeline(**options, generator=torch.Generator().manual_seed(0), output_type="pt").images
    own = draw(prior, pipeline.scheduler, noise_for(prior), [negative or "", PROMPT], SCALE)
    assert_same(own, image)
    assert_same(prior.decode(own), ((image + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1))
    assert image.std() > 0.01


@pytest.mark.parametrize("states", ["flow", "variance-preserving"])
@pytest.mark.parametrize("negative", [None, NEGATIVE])
@pytest.mark.parametrize("name", ["sd3", "sd3-without-t5"])
def test_stable_diffusion_3_draws_what_the_pipeline_draws(pipelines, name, negative, states):
    # diffusers does not read what it has saved without T5 without explicit `None` for it
    missing = {"text_encoder_3": None, "tokenizer_3": None} if name == "sd3-without-t5" else {}
    pipeline = diffusers.StableDiffusion3Pipeline.from_pretrained(pipelines[name], local_files_only=True, **missing)
    prior = prior_of("flow", pipelines[name], states=states, text_tokens=20)
    options = {"guidance_scale": SCALE, "max_sequence_length": 20}
    compare(prior, pipeline, negative, noise_for(prior), lambda latents: latents, **options)


@pytest.mark.parametrize("states", ["flow", "variance-preserving"])
@pytest.mark.parametrize("negative", [None, NEGATIVE])
@pytest.mark.parametrize("name", ["flux-dev", "flux-schnell"])
def test_flux_draws_what_the_pipeline_draws(pipelines, name, negative, states):
    pipeline = diffusers.FluxPipeline.from_pretrained(pipelines[name], local_files_only=True)
    prior = prior_of("flow", pipelines[name], states=states, text_tokens=20, image_size=96)
    noise, scale = noise_for(prior), SCALE if negative else 1.0
    packed = pipeline._pack_latents(noise, 1, 16, 12, 12)
    options = {"height": 96, "width": 96, "true_cfg_scale": scale, "guidance_scale": 3.5, "max_sequence_length": 20}
    unpack = lambda latents: pipeline._unpack_latents(latents, 96, 96, 8)  # noqa: E731
    compare(prior, pipeline, negative, packed, unpack, **options)
