"""Delta denoising score: what a view and its source have in common cancels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from views import make_batch

from threefusion.config import Schedule
from threefusion.guidance.dds import DDS
from threefusion.guidance.embedding import TextEmbeddings
from threefusion.guidance.prior.conditioning import Conditioning
from threefusion.guidance.prior.gaussian import GaussianPrior
from threefusion.guidance.prior.latent import LatentPrior
from threefusion.guidance.prior.settings import GaussianConfig, LatentConfig
from threefusion.guidance.settings import DDSConfig
from threefusion.registry import build
from threefusion.testing import image_render
from threefusion.types import ViewTexts

TARGET, SOURCE = "a blue ball", "a red ball"


def dds(prior=None, scale=1.0, **settings):
    settings = {"source_prompt": SOURCE, "guidance_scale": Schedule.constant(scale)} | settings
    return DDS(DDSConfig(**settings), prior or GaussianPrior(GaussianConfig(image_size=8)))


def texts(target=(0.8, 0.4), source=(0.6, 0.4)):
    tokens = torch.tensor([[[mean] * 3 + [std]] for mean, std in (target, source, (0.5, 0.4))])
    return TextEmbeddings([TARGET, SOURCE, ""], Conditioning(tokens))


def pictures(count=2, seed=0, size=8):
    return torch.rand(count, size, size, 3, generator=torch.Generator().manual_seed(seed))


def gradient(guidance, image, source, batch, prompt=(TARGET,)):
    image = image.clone().requires_grad_()
    render = replace(image_render(image), source=None if source is None else image_render(source))
    loss = guidance(render, ViewTexts(prompt, torch.ones(len(batch), 1)), batch).loss
    return torch.autograd.grad(loss, image)[0]


def test_an_identical_pair_has_no_gradient():
    guidance, image = dds(scale=7.5, source_prompt=TARGET), pictures()
    guidance.embeddings = texts()
    assert not gradient(guidance, image, image, make_batch(2)).any()


def test_other_words_or_another_picture_have_one():
    image = pictures()
    for words, source in ((SOURCE, image), (TARGET, pictures(seed=1))):
        guidance = dds(scale=7.5, source_prompt=words)
        guidance.embeddings = texts()
        assert gradient(guidance, image, source, make_batch(2)).abs().min() > 0


def test_view_and_source_have_guidance_at_the_same_times():
    image, source = pictures(), pictures(seed=1)
    found = {}
    for name, scale, low in (("guided", 7.5, 0.0), ("outside", 7.5, 1.0), ("plain", 1.0, 0.0)):
        guidance = dds(scale=scale, guidance_t_min=Schedule.constant(low))
        guidance.embeddings = texts()
        found[name] = gradient(guidance, image, source, make_batch(2))
        assert guidance.prior.evaluations.images == (8 if name == "guided" else 4)
    assert torch.equal(found["outside"], found["plain"]) and not torch.allclose(found["guided"], found["plain"])


def test_an_identical_pair_has_none_on_latents_that_are_drawn(pipelines):
    prior = LatentPrior(LatentConfig(model=str(pipelines["sd-epsilon"]), dtype="float32", posterior="sample"))
    guidance, image = dds(prior, scale=7.5, source_prompt=TARGET), pictures(size=32)
    guidance.embed_texts([TARGET, "", TARGET])
    assert not gradient(guidance, image, image, make_batch(2)).any()
    assert gradient(guidance, image, pictures(size=32, seed=1), make_batch(2)).any()


def test_on_gaussians_of_one_variance_the_noise_cancels():
    guidance, image, source = dds(t_min=Schedule.constant(0.5), t_max=Schedule.constant(0.5)), pictures(), pictures(seed=1)
    guidance.embeddings = texts()
    found = [gradient(guidance, image, source, make_batch(2, step)) for step in range(3)]
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[0], found[2], rtol=1e-4, atol=1e-5)


def test_the_edit_moves_the_source_by_the_difference_of_the_means():
    guidance, source = dds(), pictures(1, 1)
    guidance.embeddings = texts((0.8, 0.4), (0.6, 0.4))
    image = pictures(1)
    for step in range(400):
        image = image - 0.1 * gradient(guidance, image, source, make_batch(1, step))
    torch.testing.assert_close(image, source + 0.8 - 0.6, atol=1e-3, rtol=0)


def test_the_texts_of_the_source_name_the_same_views():
    guidance = dds()
    guidance.embed_texts(["a blue ball, front view", "seen from above", "", TARGET])
    assert guidance._words["a blue ball, front view"] == "a red ball, front view"
    assert guidance._words["seen from above"] == SOURCE
    assert {"a red ball, front view", SOURCE} <= set(guidance.embeddings._rows)


def test_a_picture_is_the_source_of_every_view(tmp_path):
    colors = (255 * pictures(1, 1, 8)[0]).round().byte().numpy()
    Image.fromarray(np.asarray(colors)).save(tmp_path / "source.png")
    guidance = dds(source=str(tmp_path / "source.png"))
    guidance.embeddings = texts()
    assert not guidance.wants.source and dds().wants.source
    image, same = pictures(), torch.from_numpy(colors).float()[None].expand(2, -1, -1, -1) / 255
    other = dds()
    other.embeddings = texts()
    found = gradient(guidance, image, None, make_batch(2))
    torch.testing.assert_close(found, gradient(other, image, same, make_batch(2)))
    assert not guidance.state_dict().keys() & {"picture"}


def test_it_makes_four_predictions_under_guidance():
    guidance = dds(scale=7.5)
    guidance.embeddings = texts()
    gradient(guidance, pictures(1), pictures(1), make_batch(1))
    assert guidance.prior.evaluations.images == 4


def test_it_needs_a_contrast_that_predicts_the_noise():
    from threefusion.config.catalogue import settings_class

    with pytest.raises(ValueError, match="contrast"):
        DDSConfig(contrast=settings_class("contrast", "classifier")())
    assert isinstance(build(DDSConfig(), GaussianPrior(GaussianConfig())), DDS)
