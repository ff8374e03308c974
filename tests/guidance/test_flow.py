"""Flow priors: two pictures of one flow that agree, shifts, what the networks are given, and what is refused."""

import json
import re
import shutil
from types import SimpleNamespace

import diffusers
import pytest
import torch
from oracles import disguised_gaussian
from torch import nn
from views import evaluate, gaussian_texts, make_batch

from threefusion.config import Schedule
from threefusion.config.catalogue import settings_class
from threefusion.guidance.prior.conditioning import Conditioning, Prediction
from threefusion.guidance.prior.files import TEXT_PARTS, ModelError, defect
from threefusion.guidance.prior.flow import FlowPrior
from threefusion.guidance.prior.image import channels_first
from threefusion.guidance.prior.schedule import RectifiedFlow, VariancePreserving, VariancePreservingFlow
from threefusion.guidance.prior.settings import FlowConfig
from threefusion.registry import build

TIMES = (0.02, 0.2, 0.5, 0.8, 0.95)
SHIFT = 3.0


def prior(folder, kind="flow", **settings):
    return build(settings_class("prior", kind)(model=str(folder), **{"dtype": "float32", "text_tokens": 16} | settings))


def change(folder, part, **changes):
    file = folder / part / ("scheduler_config.json" if part == "scheduler" else "config.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return file


@pytest.fixture
def model(pipelines, tmp_path):
    """A copy of a pipeline by its name."""
    return lambda name: shutil.copytree(pipelines[name], tmp_path / name)


# the two pictures


def test_variance_preserving_states_have_the_flows_ratio_and_both_of_its_ends():
    flow = RectifiedFlow(SHIFT)
    schedule, t = VariancePreservingFlow(flow), torch.tensor([0.0, *TIMES, 1.0])
    (alpha, sigma), (signal, level) = schedule.coefficients(t), flow.coefficients(t)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(alpha))
    torch.testing.assert_close(sigma[1:-1] / alpha[1:-1], level[1:-1] / signal[1:-1])
    assert (alpha[0], sigma[0], alpha[-1], sigma[-1]) == (1, 0, 0, 1)
    assert torch.equal(schedule.timesteps(t), flow.timesteps(t))
    assert torch.equal(schedule.draw(t[:2], 0.1, 0.9), flow.draw(t[:2], 0.1, 0.9))


def test_predictions_are_converted_exactly_at_both_ends_too():
    flow, t = RectifiedFlow(), torch.tensor([0.0, *TIMES, 1.0])
    schedule = VariancePreservingFlow(flow)
    x, noise = torch.randn(2, len(t), 3, 4, 4, generator=torch.Generator().manual_seed(0))
    alpha, sigma = schedule.coefficients(t)
    z = schedule.add_noise(x, noise, t)
    torch.testing.assert_close(schedule.to_flow(z, t), flow.add_noise(x, noise, t))
    velocity = schedule.velocity(z, noise - x, t)
    torch.testing.assert_close(velocity, alpha * noise - sigma * x)
    prediction = Prediction(velocity, "velocity", z, alpha, sigma, schedule.rates(alpha, sigma))
    torch.testing.assert_close(prediction.noise, noise, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(prediction.clean, x, rtol=1e-5, atol=1e-5)


class GaussianFlow(nn.Module):
    """Answers as a flow trained on the Gaussian of its tokens would: the expected noise - x at z = (1 - s) x + s noise."""

    def forward(self, z, timesteps, tokens, pooled, return_dict):
        s = (timesteps / 1000)[:, None, None, None]
        mean, std = 2 * tokens[:, 0, :3, None, None] - 1, tokens[:, 0, 3, None, None, None]
        centred = (z - (1 - s) * mean) / ((1 - s) ** 2 * std**2 + s**2)
        return (s * centred - mean - (1 - s) * std**2 * centred,)


class KnownFlow(FlowPrior):
    """A flow prior over pixels with the network above."""

    shape = (3, 8, 8)
    target = "velocity"
    stochastic_encoder = False
    transformer = SimpleNamespace(further=lambda *_: ())

    def denoiser(self):
        return GaussianFlow()

    def read_schedule(self):
        return VariancePreservingFlow(RectifiedFlow(SHIFT)) if self.cfg.states == "variance-preserving" else RectifiedFlow(SHIFT)

    def encode(self, rgb, noise=None):
        return channels_first(rgb)

    def network_inputs(self, z, t, condition):
        pooled = condition.tokens[:, 0]
        return super().network_inputs(z, t, Conditioning(condition.tokens, pooled))


def known_flow(states):
    return KnownFlow(FlowConfig(model="none/none", dtype="float32", states=states))


def known_table(prediction_type):
    """The same Gaussian on a table of the flow's noise levels."""
    own = disguised_gaussian(prediction_type)
    s = RectifiedFlow(SHIFT).noise_level(torch.arange(1000) / 1000).double()
    own._schedule = VariancePreserving(((1 - s) ** 2 / ((1 - s) ** 2 + s**2)).float())
    own._networks["unet"].prior._schedule = own._schedule
    return own


def gradient(own, t, weight):
    """Of score distillation at one time."""
    fixed = {"t_min": Schedule.constant(t), "t_max": Schedule.constant(t), "timestep_weight": weight}
    guidance = build(settings_class("guidance", "sds")(guidance_scale=Schedule.constant(7.5), **fixed), own)
    image = torch.rand(3, 8, 8, 3, generator=torch.Generator().manual_seed(0)).requires_grad_()
    evaluate(guidance, image, gaussian_texts((0.7, 0.3), (0.4, 0.4)), make_batch(3)).loss.backward()
    return image.grad


@pytest.mark.parametrize("weight", ["sigma_over_alpha", "flow"])
@pytest.mark.parametrize("t", TIMES)
def test_gradients_agree_in_both_pictures_if_the_weight_is_one_of_the_ratio(t, weight):
    expected, found = (gradient(known_flow(states), t, weight) for states in ("flow", "variance-preserving"))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parametrize("weight", ["sigma2", "uniform", "sigma_over_alpha"])
@pytest.mark.parametrize("prediction_type", ["epsilon", "sample", "v_prediction"])
def test_a_gaussian_seen_by_any_kind_of_network_gives_one_gradient(prediction_type, weight):
    for t in TIMES:
        expected, found = (gradient(own, t, weight) for own in (known_table(prediction_type), known_flow("variance-preserving")))
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-5 * expected.abs().max().item())


@pytest.mark.parametrize("name", ["sd3", "flux-schnell"])
def test_a_networks_predictions_agree_in_both_pictures(pipelines, name):
    pictures = [prior(pipelines[name], states=states, image_size=64) for states in ("flow", "variance-preserving")]
    condition = pictures[0].text_encoder().encode(["a red ball"] * 3)
    x, noise = torch.randn(2, 3, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([0.0, 0.4, 1.0])
    with torch.no_grad():
        flow, preserving = (own.predict(own.schedule.add_noise(x, noise, t), t, condition) for own in pictures)
    torch.testing.assert_close(preserving.noise, flow.noise, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(preserving.clean, flow.clean, rtol=1e-4, atol=1e-4)


# shifts


@pytest.mark.parametrize("kind", ["exponential", "linear"])
@pytest.mark.parametrize("size", [32, 64, 512, 1024])
def test_a_dynamic_shift_is_that_of_the_pipeline(model, kind, size):
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    folder = model("flux-dev")
    change(folder, "scheduler", time_shift_type=kind)
    scheduler = diffusers.FlowMatchEulerDiscreteScheduler.from_pretrained(folder / "scheduler")
    tokens = (size // 16) ** 2
    scheduler.set_timesteps(sigmas=[0.9, 0.5, 0.1], mu=calculate_shift(tokens))
    own = prior(folder, image_size=size)
    t = torch.tensor([0.9, 0.5, 0.1])
    torch.testing.assert_close(own.schedule.noise_level(t), scheduler.sigmas[:3])
    torch.testing.assert_close(own.schedule.timesteps(t), scheduler.timesteps)


def test_shifts_of_the_published_models(pipelines):
    assert prior(pipelines["sd3"]).schedule.shift == 3 and prior(pipelines["flux-schnell"]).schedule.shift == 1
    # m is 0.5 at 256 tokens, 0.63 at 1024 (512 pixels) and 1.15 at 4096 (1024 pixels)
    for size, m in ((256, 0.5), (512, 0.63), (1024, 1.15)):
        shift = prior(pipelines["flux-dev"], image_size=size).schedule.shift
        assert shift == pytest.approx(torch.tensor(m).exp().item(), rel=1e-3)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"max_image_seq_len": 256}, "max_image_seq_len"),
        ({"base_shift": None}, "base_shift"),
        ({"time_shift_type": "cubic"}, "time_shift_type"),
        ({"invert_sigmas": True}, "invert_sigmas"),
        ({"time_shift_type": "linear", "base_shift": 0.01, "max_shift": 5.0}, "base_shift"),
    ],
)
def test_a_shift_that_makes_no_sense_is_refused(model, changes, field):
    folder = model("flux-dev")
    file = change(folder, "scheduler", **changes)
    with pytest.raises(ModelError, match=rf"^{re.escape(str(file))}: {field} is "):
        _ = prior(folder, image_size=64).schedule


def test_a_table_is_refused(model):
    folder = model("sd3")
    diffusers.DDPMScheduler().save_pretrained(folder / "scheduler")
    index = folder / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"scheduler": ["diffusers", "DDPMScheduler"]}))
    with pytest.raises(ModelError, match=r'_class_name is "DDPMScheduler": expected flow matching'):
        _ = prior(folder).schedule


# what the networks are given


def seen_by(own):
    """The arguments of the transformer in one call."""
    seen = []
    own.load()
    own._networks["transformer"].register_forward_pre_hook(
        lambda _, args, options: seen.append((args, options)), with_kwargs=True
    )
    own.predict(torch.zeros(2, *own.shape), torch.tensor([0.3, 0.999]), own.text_encoder().encode(["a", "b"]))
    return seen[0]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_times_reach_the_networks_in_float32(pipelines, dtype):
    *_, timesteps = seen_by(prior(pipelines["sd3"], dtype=dtype))[0]
    assert timesteps.dtype == torch.float32
    torch.testing.assert_close(timesteps, 1000 * RectifiedFlow(3.0).noise_level(torch.tensor([0.3, 0.999])))
    args, options = seen_by(prior(pipelines["flux-schnell"], dtype=dtype, image_size=32))
    assert args[3].dtype == options["img_ids"].dtype == torch.float32
    torch.testing.assert_close(args[3], torch.tensor([0.3, 0.999]))


def test_guidance_is_an_input_of_the_distilled_network_alone(pipelines):
    assert seen_by(prior(pipelines["flux-dev"], image_size=32))[1]["guidance"].tolist() == [3.5, 3.5]
    assert seen_by(prior(pipelines["flux-dev"], image_size=32, embedded_guidance=1.0))[1]["guidance"].tolist() == [1, 1]
    assert seen_by(prior(pipelines["flux-schnell"], image_size=32))[1]["guidance"] is None
    with pytest.raises(ModelError, match="guidance_embeds is false: the network takes no guidance scale"):
        prior(pipelines["flux-schnell"], image_size=32, embedded_guidance=3.5).load()


@pytest.mark.parametrize(("name", "length"), [("sd3", 77 + 256), ("sd3-without-t5", 77 + 256), ("flux-dev", 512)])
def test_texts_have_the_pipelines_length_by_default(pipelines, name, length):
    own = prior(pipelines[name], text_tokens=None)
    encoded = own.text_encoder().encode(["a red ball", ""])
    assert encoded.tokens.shape == (2, length, 64) and encoded.pooled.shape == (2, 32)
    # not zeros, as for Stable Diffusion XL
    assert encoded.tokens[1].any() and encoded.pooled[1].any()


def test_keys_of_embeddings_tell_lengths_and_encoders_apart(pipelines):
    names = ("sd3", "sd3-without-t5", "flux-dev")
    keys = {prior(pipelines[name], text_tokens=tokens).text_encoder().key for name in names for tokens in (16, 32)}
    assert len(keys) == 6


def test_a_prompt_that_t5_reads_whole_is_not_called_cut(pipelines, heard):
    long = "a red ball " * 12
    prior(pipelines["flux-dev"], text_tokens=300).text_encoder().encode([long])
    prior(pipelines["sd3"], text_tokens=300).text_encoder().encode([long])
    assert not heard
    prior(pipelines["sd3-without-t5"], text_tokens=300).text_encoder().encode([long])
    assert str(heard).count("of which the prior reads 77") == 1


def test_half_precision_is_the_published_one_on_accelerators(pipelines, model):
    folder = model("sd3")
    network = diffusers.SD3Transformer2DModel.from_pretrained(folder / "transformer").bfloat16()
    network.save_pretrained(folder / "transformer")
    for own, expected in ((prior(folder, dtype="auto"), torch.bfloat16), (prior(pipelines["sd3"], dtype="auto"), torch.float16)):
        own._device = torch.device("cuda")
        assert own.dtype == expected
    assert prior(folder).dtype == torch.float32


@pytest.mark.parametrize("name", ["sd3", "flux-dev"])
def test_half_precision_changes_a_prediction_slightly(pipelines, name):
    single, half = (prior(pipelines[name], dtype=dtype, image_size=64) for dtype in ("float32", "bfloat16"))
    condition = single.text_encoder().encode(["a red ball"])
    z, t = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0.7])
    exact, found = (own.predict(z, t, condition).noise for own in (single, half))
    assert found.dtype == torch.float32 and 0 < (found - exact).norm() / exact.norm() < 0.03


# what is refused


@pytest.mark.parametrize(
    ("name", "changes", "field"),
    [
        ("sd3", {"in_channels": 17}, "in_channels"),
        ("sd3", {"out_channels": 32}, "out_channels"),
        ("sd3", {"patch_size": 0}, "patch_size"),
        ("sd3", {"sample_size": None}, "sample_size"),
        ("sd3", {"pos_embed_max_size": 3}, "pos_embed_max_size"),
        ("sd3", {"_class_name": "PixArtTransformer2DModel"}, "_class_name"),
        ("sd3", {"camera": 1}, "camera"),
        ("flux-dev", {"in_channels": 384}, "in_channels"),
        ("flux-dev", {"patch_size": 2}, "patch_size"),
        ("flux-dev", {"out_channels": 128}, "out_channels"),
    ],
)
def test_a_transformer_that_cannot_be_honoured_is_refused(model, name, changes, field):
    folder = model(name)
    file = change(folder, "transformer", **changes)
    if field == "_class_name":
        index = folder / "model_index.json"
        index.write_text(json.dumps(json.loads(index.read_text()) | {"transformer": ["diffusers", changes["_class_name"]]}))
    with pytest.raises(ModelError, match=rf"^{re.escape(str(file))}: {field} is ") as caught:
        prior(folder).load()
    assert len(str(caught.value).splitlines()) == 1


def test_a_transformer_without_a_class_is_refused(model):
    folder = model("sd3")
    (folder / "model_index.json").unlink()
    change(folder, "transformer", _class_name=None)
    with pytest.raises(ModelError, match="_class_name is null: supported: SD3Transformer2DModel, FluxTransformer2DModel"):
        prior(folder).load()


@pytest.mark.parametrize(
    ("name", "changes", "field"),
    [
        ("sd3", {"joint_attention_dim": 128}, "joint_attention_dim"),
        ("sd3", {"pooled_projection_dim": 33}, "pooled_projection_dim"),
        ("sd3-without-t5", {"joint_attention_dim": 40}, "joint_attention_dim"),
        ("flux-dev", {"joint_attention_dim": 32}, "joint_attention_dim"),
        ("flux-dev", {"pooled_projection_dim": 64}, "pooled_projection_dim"),
    ],
)
def test_a_text_of_another_width_is_refused(model, name, changes, field):
    folder = model(name)
    file = change(folder, "transformer", **changes)
    with pytest.raises(ModelError, match=rf"^{re.escape(str(file))}: {field} is \d+: but the encoded text"):
        prior(folder).text_encoder()


@pytest.mark.parametrize(("name", "part"), [("sd3", "text_encoder"), ("flux-dev", "text_encoder_2")])
def test_text_encoders_of_another_kind_are_refused(pipelines, model, name, part):
    folder, other = model(name), pipelines["flux-dev" if name == "sd3" else "sd3"]
    shutil.rmtree(folder / part)
    shutil.copytree(other / "text_encoder", folder / part)
    with pytest.raises(
        ModelError, match=f"{part}/config.json: expected (clip_text_model, the two CLIPs with|t5 without) a projection"
    ):
        prior(folder).text_encoder()


def test_an_image_size_between_patches_is_refused(pipelines):
    for name in ("sd3", "flux-dev"):
        with pytest.raises(ModelError, match=r"guidance\.prior\.image_size: expected a multiple of 16, not 72"):
            prior(pipelines[name], image_size=72).load()
    with pytest.raises(ModelError, match=r"pos_embed_max_size is 12: too few for 16 x 16 patches"):
        prior(pipelines["sd3"], image_size=256).load()


def test_all_of_the_text_encoders_that_are_listed_are_needed(pipelines, model):
    parts = ("transformer", "scheduler", "vae", *TEXT_PARTS)
    assert all(defect(pipelines[name], parts) is None for name in ("sd3", "sd3-without-t5", "flux-dev"))
    folder = model("sd3")
    shutil.rmtree(folder / "text_encoder_3")
    assert defect(folder, parts) == f"{folder / 'text_encoder_3' / 'config.json'} is missing"


@pytest.mark.parametrize(("kind", "name", "words"), [("latent", "sd3", "`flow`"), ("flow", "sd-epsilon", "`latent`")])
def test_the_prior_that_runs_a_model_is_named(pipelines, kind, name, words):
    own = build(settings_class("prior", kind)(model=str(pipelines[name])))
    with pytest.raises(ModelError, match=f"for the prior {words}"):
        _ = own.shape


def test_the_size_of_the_largest_layer_is_known(pipelines):
    own = prior(pipelines["flux-dev"], image_size=128)
    assert own.image_tokens == 64 and own.largest_layer(2) >= 2 * 2 * 64 * 4 * 32
