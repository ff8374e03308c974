"""Ways of running a frozen network change when and where its work is done, and nothing else."""

from __future__ import annotations

from weakref import ref

import pytest
import torch
from views import make_batch

from threefusion.config.catalogue import settings_class
from threefusion.errors import UserError
from threefusion.guidance.prior.conditioning import Conditioning
from threefusion.guidance.prior.execution import Graphed, Offloaded, missing_for_compiling, runner
from threefusion.guidance.prior.settings import LatentConfig
from threefusion.registry import build
from threefusion.testing import image_render

RGB = torch.rand(2, 64, 64, 3, generator=torch.Generator().manual_seed(0))


def latent(pipelines, device="cpu", **settings):
    return build(settings_class("prior", "latent")(model=str(pipelines["sd-epsilon"]), **{"dtype": "float32"} | settings)).to(
        device
    )


def judgement(prior, device="cpu"):
    """Latents, predicted noise, and the gradient of the former to the image."""
    image = RGB.clone().to(device).requires_grad_()
    x = prior.encode(image)
    probe = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).to(device)
    tokens = torch.randn(2, 77, 32, generator=torch.Generator().manual_seed(2)).to(device)
    with torch.no_grad():
        noise = prior.predict(x.detach(), torch.tensor([0.02, 0.7], device=device), Conditioning(tokens)).noise
    (gradient,) = torch.autograd.grad((x * probe).sum(), image)
    return x.detach(), noise, gradient


def assert_same(found, expected, tolerance=1e-4):
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance * other.abs().max().item())


@pytest.mark.slow
@pytest.mark.skipif(missing_for_compiling(torch.device("cpu")) is not None, reason="no C++ compiler")
def test_a_compiled_encoder_says_the_same_and_its_gradient_is_whole():
    from diffusers import AutoencoderKL

    torch.manual_seed(0)
    blocks = {"down_block_types": ("DownEncoderBlock2D",) * 2, "up_block_types": ("UpDecoderBlock2D",) * 2}
    encoder = AutoencoderKL(block_out_channels=(8, 8), **blocks, norm_num_groups=4).encoder.eval().requires_grad_(False)
    found = []
    for execution in ("eager", "compile"):
        image = RGB.permute(0, 3, 1, 2)[..., :16, :16].clone().requires_grad_()
        x = runner(encoder, execution, torch.device("cpu"))(image)
        x.square().sum().backward()
        found.append((x.detach(), image.grad))
    assert found[0][1].abs().amax((1, 2, 3)).min() > 0
    assert_same(found[1], found[0])


def test_without_a_compiler_it_is_one_line(pipelines, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match=r"execution: compile needs a C\+\+ compiler \(no-such-compiler\)"):
        latent(pipelines, execution="compile").encode(RGB)


@pytest.mark.parametrize(
    "settings, message",
    [({"execution": "cuda-graph"}, "cuda-graph needs a CUDA device, and this run is on cpu"), ({"offload": True}, "accelerator")],
)
def test_what_needs_a_gpu_says_so_on_the_cpu(pipelines, settings, message):
    with pytest.raises(UserError, match=message):
        latent(pipelines, **settings).encode(RGB)


@pytest.mark.parametrize(
    "settings",
    [{"offload": True, "execution": "compile"}, {"gradient_checkpointing": True, "execution": "cuda-graph"}],
)
def test_ways_that_exclude_each_other_are_refused_at_once(settings):
    with pytest.raises(ValueError, match="only with execution eager"):
        LatentConfig(**settings)


def test_offloaded_weights_are_not_there_for_a_second_forward_pass():
    with pytest.raises(ValueError, match="gradient_checkpointing: not together with offload"):
        LatentConfig(offload=True, gradient_checkpointing=True)


def kept_bytes(prior):
    """Bytes that one encoding keeps for its backward pass, weights included, and the gradient."""
    sizes = {}

    def pack(tensor):
        sizes[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    image = RGB.clone().requires_grad_()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        x = prior.encode(image)
    held = sum(sizes.values())
    x.square().sum().backward()
    return held, image.grad


def test_checkpointing_keeps_less_and_gives_the_same_gradient(pipelines):
    whole, expected = kept_bytes(latent(pipelines))
    less, found = kept_bytes(latent(pipelines, gradient_checkpointing=True))
    assert less < whole / 3
    assert_same([found], [expected])


def test_an_offloaded_network_answers_the_same_and_keeps_no_copy(pipelines, monkeypatch):
    """The copies are clones here, since there is no other device."""
    copies = []

    def clones(self):
        weights = {name: tensor.clone() for name, tensor in self.network.state_dict().items()}
        copies.extend(ref(tensor) for tensor in weights.values())
        return weights

    expected = judgement(latent(pipelines))
    prior = latent(pipelines)
    monkeypatch.setattr(prior, "prepare", lambda network, execution, **options: Offloaded(network, prior.device, **options))
    monkeypatch.setattr(Offloaded, "weights", clones)
    assert_same(judgement(prior), expected, 1e-6)
    assert len(copies) > 100
    assert not any(copy() is not None for copy in copies)


def test_a_move_forgets_what_was_prepared(pipelines):
    prior = latent(pipelines)
    prior.encode(RGB)
    assert prior._runners
    prior.to("meta")
    assert not prior._runners
    assert next(prior._networks["unet"].parameters()).device.type == "meta"


@pytest.mark.parametrize("kind, model", [("pixel", "toyworld-pixel"), ("latent", "toyworld-latent")])
def test_the_bundled_networks_keep_channels_last_and_attend_by_sdpa(kind, model):
    prior = build(settings_class("prior", kind)(model=model, dtype="float32"))
    prior.load()
    unet = prior._networks["unet"]
    if kind == "latent":  # the pixel prior's own network has no other attention
        assert {type(processor).__name__ for processor in unet.attn_processors.values()} == {"AttnProcessor2_0"}
    seen = []
    networks = list(prior._networks.values())
    named = [(name, m) for network in networks for name, m in network.named_modules() if isinstance(m, torch.nn.Conv2d)]
    for name, convolution in named:
        # diffusers itself reorders the small map behind its attention blocks
        if kind == "pixel" or not name.endswith("proj_out"):
            convolution.register_forward_pre_hook(lambda module, inputs: seen.append((module, inputs[0])))
    z = prior.encode(torch.rand(2, 64, 64, 3))
    with torch.no_grad():
        prior.predict(z, torch.tensor([0.001, 0.5]), prior.text_encoder().encode(["a", "b"]))
    assert len(seen) > 40
    for module, tensor in seen:
        assert module.weight.is_contiguous(memory_format=torch.channels_last)
        assert tensor.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("kind", "name"), [("latent", "sd-epsilon"), ("latent", "sdxl"), ("pixel", "if-6")])
def test_networks_shaped_as_the_real_ones_run_channels_last_with_sdpa_in_one_call_and_stay_frozen(pipelines, kind, name):
    """After a move to half precision too, as on a GPU."""
    prior = build(settings_class("prior", kind)(model=str(pipelines[name]), dtype="bfloat16"))
    prompt = build(settings_class("prompt", "plain")(text="a red ball"))
    batch, image = make_batch(2), RGB.clone().requires_grad_()
    guidance = build(settings_class("guidance", "sds")(), prior)
    guidance.embed_texts(prompt.texts())
    prior.load()
    calls = []
    prior._networks["unet"].register_forward_pre_hook(lambda _, inputs: calls.append(len(inputs[0])))
    guidance(image_render(image), prompt(batch.camera), batch).loss.backward()
    assert calls == [4] and image.grad.abs().amax((1, 2, 3)).min() > 0
    for network in prior._networks.values():
        assert all(value.grad is None and not value.requires_grad for value in network.parameters())
        convolutions = [module for module in network.modules() if isinstance(module, torch.nn.Conv2d)]
        assert convolutions and all(one.weight.is_contiguous(memory_format=torch.channels_last) for one in convolutions)
        processors = {type(module.processor).__name__ for module in network.modules() if hasattr(module, "processor")}
        assert processors and all(processor.endswith("2_0") for processor in processors)


def test_no_loss_decodes(pipelines, monkeypatch):
    prior = latent(pipelines)
    monkeypatch.setattr(type(prior), "decode", lambda *_: pytest.fail("decoded"))
    prior.load()
    prior._networks["vae"].decoder.register_forward_pre_hook(lambda *_: pytest.fail("decoded"))
    prompt = build(settings_class("prompt", "plain")(text="a red ball"))
    for objective in ("sds", "full-gradient"):
        batch = make_batch(2)
        guidance = build(settings_class("guidance", objective)(), prior)
        guidance.embed_texts(prompt.texts())
        guidance(image_render(RGB.clone().requires_grad_()), prompt(batch.camera), batch).loss.backward()


@pytest.mark.gpu
def test_captured_networks_say_the_same_call_after_call_and_shape_after_shape(pipelines):
    expected = judgement(latent(pipelines, "cuda"), "cuda")
    prior = latent(pipelines, "cuda", execution="cuda-graph")
    for _ in range(3):
        assert_same(judgement(prior, "cuda"), expected)
    first, _, _ = expected
    one = prior.encode(RGB[:1].cuda())
    torch.testing.assert_close(one, first[:1], rtol=1e-3, atol=1e-4)
    assert_same(judgement(prior, "cuda"), expected)


@pytest.mark.gpu
def test_a_replay_leaves_earlier_answers_alone():
    graphed = Graphed(lambda x: x * 2)
    with torch.no_grad():
        one, two = graphed(torch.ones(3, device="cuda")), graphed(torch.full((3,), 5.0, device="cuda"))
    assert one.tolist() == [2, 2, 2] and two.tolist() == [10, 10, 10]


@pytest.mark.gpu
def test_an_offloaded_prior_says_the_same_and_leaves_the_gpu_empty(pipelines):
    expected = judgement(latent(pipelines, "cuda"), "cuda")
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    prior = latent(pipelines, "cuda", offload=True)
    found = judgement(prior, "cuda")
    assert_same(found, expected)
    assert next(prior._networks["unet"].parameters()).is_pinned()
    held = sum(tensor.untyped_storage().nbytes() for tensor in found)
    assert torch.cuda.memory_allocated() - before < held + 2**20
