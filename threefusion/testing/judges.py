"""Contracts of what looks, judges, moves and writes: prompt, camera, prior, guidance, loss, optimizer, exporter."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from pytorch_lightning.loggers import Logger
from torch import Tensor, nn

from threefusion.config import Settings
from threefusion.guidance.prior.settings import GaussianConfig
from threefusion.registry import build
from threefusion.testing.samples import gaussian_embedding, small_scene, synthetic_render, views
from threefusion.testing.scene import assert_finite, seeded
from threefusion.types import PromptEmbeddings, RenderOutput, ViewBatch

PRIOR = GaussianConfig(image_size=8)


def check_prompt(cfg: Settings) -> None:
    """Cameras -> embeddings of shape [B L D], none of them in a checkpoint."""
    prompt = build(cfg, build(PRIOR).text_encoder())
    batch = views(3)
    embedding = prompt(batch.camera)
    assert embedding.text.ndim == 3 and len(embedding.text) == 3, "prompt: embeddings are [B L D]"
    assert embedding.text.shape == embedding.uncond.shape, "prompt: the empty prompt has the shape of the text"
    assert_finite([embedding.text, embedding.uncond, embedding.negative], "prompt")
    assert not prompt.state_dict(), "prompt: embeddings stay out of checkpoints (persistent=False)"


def check_camera(cfg: Settings) -> None:
    """(seed, step, index) -> views, and nothing else matters."""
    camera = build(cfg)
    whole = camera.sample(3, 7, torch.arange(4))
    assert len(whole) == 4 and camera.batch_size >= 1, "camera: as many views as were requested"
    rotation = whole.camera.c2w[:, :3, :3]
    assert torch.allclose(rotation @ rotation.mT, torch.eye(3).expand(4, 3, 3), atol=1e-4), "camera: c2w turns without stretching"
    assert torch.allclose(torch.linalg.det(rotation), torch.ones(4), atol=1e-4), "camera: c2w does not mirror"
    assert (whole.camera.azimuth.abs() <= torch.pi + 1e-5).all(), "camera: azimuth lies in (-pi, pi]"
    assert_finite([whole.camera.c2w, whole.camera.fovy, whole.light.position, whole.light.color], "camera")
    part = camera.sample(3, 7, torch.tensor([2]))
    assert same_views(part, whole.select(torch.tensor([2]))), "camera: a view depends on (seed, step, index) alone"
    assert not same_views(whole, camera.sample(4, 7, torch.arange(4))), "camera: other steps have other views"
    assert not same_views(whole, camera.sample(3, 8, torch.arange(4))), "camera: other seeds have other views"


def same_views(one: ViewBatch, other: ViewBatch) -> bool:
    """Whether two batches hold the same cameras and lights."""
    pairs = ((one.camera.c2w, other.camera.c2w), (one.light.position, other.light.position), (one.shading, other.shading))
    return all(torch.equal(mine, theirs) for mine, theirs in pairs)


def check_prior(cfg: Settings) -> None:
    """Images -> its space -> noise, with nothing to train and nothing to save."""
    prior = build(cfg)
    tokens = prior.text_encoder().encode(["a red car", ""])
    prior.load()
    image = torch.rand(2, 16, 16, 3, generator=seeded(0), requires_grad=True)
    noise = torch.randn(2, *prior.shape, generator=seeded(1))
    x = prior.encode(image, noise if prior.stochastic_encoder else None)
    assert x.shape == (2, *prior.shape) and x.dtype == torch.float32, "prior: encode gives float32 of its own shape"
    assert_finite([x, *torch.autograd.grad(x.square().sum(), image)], "prior")
    table = prior.alphas_cumprod
    assert ((table > 0) & (table <= 1)).all() and (table.diff() < 0).all(), "prior: alphas_cumprod falls from 1 towards 0"
    with torch.no_grad():
        predicted = prior.predict_noise(x, torch.tensor([20, 500]), tokens)
        decoded = prior.decode(x)
    assert predicted.shape == x.shape and predicted.dtype == torch.float32, "prior: predicted noise is float32, of the shape of z"
    assert decoded.shape[0] == 2 and decoded.shape[-1] == 3, "prior: decoded images are [B H W 3]"
    assert_finite([predicted, decoded], "prior")
    assert not prior.state_dict() and not list(prior.parameters()), "prior: frozen networks stay out of the module tree"


def check_guidance(cfg: Settings) -> None:
    """Images -> a loss that is a mean over views, with a gradient for every view."""
    guidance = build(cfg, build(PRIOR))
    batch = views(2)
    image = torch.rand(2, 8, 8, 3, generator=seeded(0))

    def judge(part: ViewBatch, embedding: PromptEmbeddings, images: Tensor) -> tuple[Tensor, Tensor]:
        images = images.clone().requires_grad_()
        output = guidance(images, embedding, part)
        assert output.loss.shape == (), "guidance: the loss is a single number"
        assert all(value.shape == () and not value.requires_grad for value in output.metrics.values()), "guidance: plain metrics"
        (gradient,) = torch.autograd.grad(output.loss, images)
        return output.loss, gradient

    loss, gradient = judge(batch, gaussian_embedding(2), image)
    assert_finite([loss, gradient], "guidance")
    assert (gradient.flatten(1).norm(dim=1) > 0).all(), "guidance: every view receives a gradient"
    assert torch.equal(gradient, judge(batch, gaussian_embedding(2), image)[1]), "guidance: all randomness comes from the batch"
    single = [judge(views(1, first=i), gaussian_embedding(1), image[i : i + 1])[1] for i in range(2)]
    mean = torch.cat(single) / 2
    assert torch.allclose(gradient, mean, rtol=1e-3, atol=1e-6 * float(mean.abs().max())), "guidance: a mean over views"


def check_loss(cfg: Settings) -> None:
    """A render -> a number that is a mean over views."""
    term = build(cfg)
    batch = views(2)
    render = synthetic_render(batch)
    value = term(render, batch)
    assert value.shape == (), "loss: a single number"
    weight = cfg.weight(0)
    assert isinstance(weight, float), "loss: its config has a weight that is a Schedule"
    inputs = moved_tensors(render)
    gradients = torch.autograd.grad(value, inputs, allow_unused=True)
    assert any(gradient is not None for gradient in gradients), "loss: it depends on nothing that was rendered"
    assert_finite([value, *gradients], "loss")
    single = [term(synthetic_render(part), part) for part in (views(1, first=0), views(1, first=1))]
    assert torch.allclose(value, torch.stack(single).mean(), rtol=1e-4), "loss: a mean over views, not over a batch's pixels"


def moved_tensors(render: RenderOutput) -> list[Tensor]:
    """Everything in a render that a loss can pull at."""
    tensors = [render.image, render.opacity, render.depth, render.normal]
    if render.samples is not None:
        tensors += [render.samples.weights, render.samples.normal]
    return [tensor for tensor in tensors if tensor is not None]


def check_optimizer(cfg: Settings) -> None:
    """A torch optimiser over the whole scene, and a scale that is a pure function of the step."""
    factory = build(cfg)
    scene = nn.ModuleDict({"geometry": nn.Linear(2, 2), "material": nn.Linear(2, 1)})
    optimizer = factory.create(scene)
    held = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    assert held == {id(parameter) for parameter in scene.parameters()}, "optimizer: every parameter is in exactly one group"
    assert all(group["initial_lr"] == group["lr"] > 0 for group in optimizer.param_groups), "optimizer: groups have initial_lr"
    before = scene["geometry"].weight.detach().clone()
    scene["geometry"](torch.ones(1, 2)).sum().backward()
    optimizer.step()
    assert not torch.equal(before, scene["geometry"].weight), "optimizer: a step moves parameters"
    assert factory.scale(0) == factory.scale(0) >= 0, "optimizer: scale(step) is a number of at least 0"


def check_exporter(cfg: Settings) -> None:
    """An untrained scene -> files."""
    exporter = build(cfg)
    with tempfile.TemporaryDirectory() as folder:
        exported = exporter.export(*small_scene(), Path(folder) / "new")
        paths = exported.paths
        assert paths and all(path.is_file() and path.stat().st_size > 0 for path in paths), (
            "exporter: it returns files that exist"
        )
        assert all(path.is_relative_to(folder) for path in paths), "exporter: it writes into its folder alone"
        json.dumps(exported.report)
        assert exported.mesh is None or exported.mesh.vertices.isfinite().all(), "exporter: the mesh is finite"


def check_logger(cfg: Settings) -> None:
    """A run folder and the text of its config -> Lightning loggers."""
    with tempfile.TemporaryDirectory() as folder:
        loggers = build(cfg, Path(folder), "name: x")
        assert all(isinstance(logger, Logger) for logger in loggers), "logger: a list of Lightning loggers"


CONTRACTS: dict[str, Callable[[Settings], None]] = {
    "prompt": check_prompt,
    "camera": check_camera,
    "prior": check_prior,
    "guidance": check_guidance,
    "loss": check_loss,
    "optimizer": check_optimizer,
    "exporter": check_exporter,
    "logger": check_logger,
}
"""By kind."""
