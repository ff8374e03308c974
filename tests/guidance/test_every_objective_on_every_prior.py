"""Whatever the objective and whatever the network was trained to predict, one contract holds."""

import sys
from pathlib import Path

import pytest
import torch
from oracles import disguised_gaussian
from views import gaussian_texts, make_batch, prompt_of

from threefusion.config import Schedule
from threefusion.config.catalogue import settings_class
from threefusion.guidance.prior.gaussian import GaussianPrior
from threefusion.guidance.prior.settings import GaussianConfig
from threefusion.registry import build
from threefusion.testing import image_render, views

sys.path.append(str(Path(__file__).parents[2] / "docs"))
import generate_matrix

OBJECTIVES = [name for name in generate_matrix.names("guidance") if generate_matrix.has_prior(name)]
SETTINGS = {"full-gradient": {"guidance_scale": Schedule.constant(2.0)}}
"""What differs from the defaults: both of classifier-free guidance's predictions are made."""
PRIORS = {
    "if-6": "pixel",
    "if-3": "pixel",
    "if-v": "pixel",
    "sd-epsilon": "latent",
    "sd-v": "latent",
    "sdxl": "latent",
    "if-ii": "super-resolution",
    "mvdream": "multi-view",
    "zero123": "image-conditioned",
    "sd3": "flow",
    "flux-dev": "flow",
    "gaussian": "gaussian",
    "mixture": "mixture",
}
SIZES = {"flux-dev": {"image_size": 32, "text_tokens": 8}, "sd3": {"text_tokens": 8}}
"""What keeps a model small whose own settings do not."""


def step(objective, prior, prompt, batch, image=None, texts=None):
    guidance = build(settings_class("guidance", objective)(**SETTINGS.get(objective, {})), prior)
    if texts is None:
        guidance.embed_texts([*prompt.texts(), prompt.cfg.text] if guidance.reads_plain else prompt.texts())
        prompted = prompt(batch.camera)
    else:
        guidance.embeddings, prompted = texts(guidance.templates), prompt
    image = torch.rand(len(batch), 32, 32, 3, generator=torch.Generator().manual_seed(0)) if image is None else image
    image = image.clone().requires_grad_()
    output = guidance(image_render(image), prompted, batch)
    output.loss.backward()
    return output, image.grad


def prior_of(pipelines, network):
    name = PRIORS[network]
    if name not in ("gaussian", "mixture"):
        more = {"image": str(pipelines["picture"])} if name == "image-conditioned" else SIZES.get(network, {})
        return build(settings_class("prior", name)(model=str(pipelines[network]), dtype="float32", **more))
    return build(settings_class("prior", name)())


def test_every_prior_has_a_network_here():
    assert set(PRIORS.values()) == set(generate_matrix.names("prior"))


@pytest.mark.parametrize("network", PRIORS)
def test_random_networks_give_finite_gradients_to_the_image_and_none_to_themselves(pipelines, network, monkeypatch):
    prior = prior_of(pipelines, network)
    prompt = build(settings_class("prompt", "interpolated")(text="a red ball"))
    batch = views(max(2, prior.group_size), group_size=prior.group_size)
    decoded = []
    decode = prior.decode
    monkeypatch.setattr(prior, "decode", lambda x: decoded.append(x) or decode(x))
    for objective in OBJECTIVES:
        decoded.clear()
        calls = prior.evaluations.calls
        output, gradient = step(objective, prior, prompt, batch)
        assert output.loss.dtype == gradient.dtype == torch.float32, objective
        assert gradient.isfinite().all(), objective
        assert (gradient.abs().amax((1, 2, 3)) > 0).all(), objective
        for frozen in prior._networks.values():
            assert all(parameter.grad is None and not parameter.requires_grad for parameter in frozen.parameters()), objective
        assert bool(decoded) == (objective == "hifa"), objective
        if objective == "sds":
            assert prior.evaluations.calls == calls + 1


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_all_randomness_comes_from_the_batch(pipelines, objective):
    prior = prior_of(pipelines, "sd-epsilon")
    prompt = build(settings_class("prompt", "interpolated")(text="a red ball", negative="ugly"))
    (first, gradient), (again, repeated) = (step(objective, prior, prompt, make_batch(2)) for _ in range(2))
    assert torch.equal(gradient, repeated) and torch.equal(first.loss, again.loss)


def test_the_table_in_the_docs_is_the_generated_one():
    page = generate_matrix.PAGE.read_text(encoding="utf-8")
    assert page == generate_matrix.replaced(page)


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("prediction_type, channels", [("epsilon", 6), ("v_prediction", 3), ("sample", 3)])
def test_networks_that_know_the_same_gaussian_judge_alike(objective, prediction_type, channels):
    batch = make_batch(3)

    def texts(templates):
        return gaussian_texts((0.7, 0.3), (0.4, 0.4), templates=dict.fromkeys(templates, (0.2, 0.6)))

    priors = (GaussianPrior(GaussianConfig(image_size=8)), disguised_gaussian(prediction_type, channels))
    expected, found = (step(objective, prior, prompt_of(texts(()), 3), batch, texts=texts)[1] for prior in priors)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parametrize("objective", ["sds", "nfsd", "ism", "sdi", "vsd"])
def test_two_batches_of_one_are_a_batch_of_two_on_a_network(pipelines, objective):
    prior = build(settings_class("prior", "pixel")(model=str(pipelines["if-6"]), dtype="float32", image_size=32))
    prompt = build(settings_class("prompt", "binned")(text="a red ball"))
    _, whole = step(objective, prior, prompt, make_batch(2))
    image = torch.rand(2, 32, 32, 3, generator=torch.Generator().manual_seed(0))
    for i in (0, 1):
        _, alone = step(objective, prior, prompt, make_batch(1, first=i), image[i : i + 1])
        torch.testing.assert_close(whole[i : i + 1], alone / 2, rtol=1e-3, atol=1e-4 * whole.abs().max().item())
