"""Contracts of prompt, camera, prior, guidance, loss, optimizer, exporter, logger and viewer."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from pytorch_lightning.loggers import Logger
from torch import Tensor, nn

from threefusion.config import Settings
from threefusion.guidance.prior.conditioning import Prediction, PromptConditioning
from threefusion.registry import build
from threefusion.testing.samples import image_render, sample_guidance, sample_prompt, seeded, small_scene, synthetic_render, views
from threefusion.testing.scene import assert_finite
from threefusion.types import RenderOutput, ViewBatch
from threefusion.viewer.viewer import Dial, Pose, Status


def check_prompt(cfg: Settings) -> None:
    """Cameras -> texts, and their weights in every view."""
    prompt = build(cfg)
    batch = views(3)
    prompted = prompt(batch.camera)
    assert prompted.weight.shape == (3, len(prompted.texts)), "prompt: weights are [B V], a column per text"
    assert torch.allclose(prompted.weight.sum(1), torch.ones(3)), "prompt: the weights of a view sum to 1"
    wanted = {*prompted.texts, "", *prompted.negatives}
    assert wanted <= set(prompt.texts()), "prompt: texts() lists every text, the empty one included"
    assert not prompt.state_dict(), "prompt: its state_dict is empty"


def check_camera(cfg: Settings) -> None:
    """(seed, step, index) -> views, a pure function."""
    camera = build(cfg)
    whole = camera.sample(3, 7, torch.arange(4))
    assert len(whole) == 4 and camera.batch_size >= 1, "camera: as many views as were requested"
    rotation = whole.camera.c2w[:, :3, :3]
    assert torch.allclose(rotation @ rotation.mT, torch.eye(3).expand(4, 3, 3), atol=1e-4), "camera: c2w is orthonormal"
    assert torch.allclose(torch.linalg.det(rotation), torch.ones(4), atol=1e-4), "camera: c2w has determinant 1"
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
    """Images, views and texts -> latents -> predictions; no parameters and no state."""
    prior = build(cfg)
    count = 2 * prior.group_size
    tokens = prior.text_encoder().encode(["a red car", ""])[torch.arange(count) // prior.group_size]
    prior.load()
    batch = views(count, size=16, of=count, group_size=prior.group_size)
    prompt = prior.condition(PromptConditioning(tokens, tokens), batch, synthetic_render(batch))
    condition = prompt.text
    assert not any(value.requires_grad for value in vars(condition).values() if value is not None), (
        "prior: condition() is detached from the render"
    )
    image = torch.rand(count, 16, 16, 3, generator=seeded(0), requires_grad=True)
    noise = torch.randn(count, *prior.shape, generator=seeded(1))
    x = prior.encode(image, noise if prior.stochastic_encoder else None)
    assert (x.shape, x.dtype) == (noise.shape, torch.float32), "prior: encode returns float32 of shape [B, *prior.shape]"
    assert_finite([x, *torch.autograd.grad(x.square().sum(), image)], "prior")
    alpha, sigma = (value.flatten() for value in prior.schedule.coefficients(torch.linspace(0.01, 0.99, 99)))
    assert (alpha.diff() <= 0).all() and (sigma.diff() >= 0).all(), "prior: signal falls and noise grows from t = 0 to 1"
    t = torch.tensor([0.02, 0.5]).repeat_interleave(prior.group_size)
    with torch.no_grad():
        prediction = prior.predict(prior.schedule.add_noise(x, noise, t), t, condition)
        decoded = prior.decode(x)
    assert_prediction(prediction, x.shape)
    assert prior.evaluations.calls == 1 and prior.evaluations.images == count, "prior: its evaluations are counted"
    assert decoded.shape[0] == count and decoded.shape[-1] == 3, "prior: decoded images are [B H W 3]"
    assert_finite([decoded], "prior")
    assert not prior.state_dict() and not list(prior.parameters()), "prior: frozen networks stay out of the module tree"


def assert_prediction(prediction: Prediction, shape: torch.Size) -> None:
    """All three forms are float32, finite, and agree at the noised states."""
    forms = (prediction.noise, prediction.clean, prediction.velocity)
    assert all(form.shape == shape and form.dtype == torch.float32 for form in forms), "prior: predictions are float32, like z"
    assert_finite(forms, "prior")
    again = prediction.alpha * prediction.clean + prediction.sigma * prediction.noise
    tolerance = 1e-4 * float(prediction.z.abs().max())
    assert torch.allclose(again, prediction.z, rtol=0, atol=tolerance), "prior: alpha clean + sigma noise is z"


def check_guidance(cfg: Settings) -> None:
    """Images -> a loss that is a mean over groups of views, with a gradient for every view."""
    guidance = sample_guidance(cfg)
    image = torch.rand(4, 8, 8, 3, generator=seeded(0))

    def loss_and_gradient(part: ViewBatch, images: Tensor) -> tuple[Tensor, Tensor]:
        render = image_render(images.clone().requires_grad_())
        output = guidance(render, sample_prompt(len(part)), part)
        assert output.loss.shape == (), "guidance: the loss is a scalar"
        assert all(value.shape == () and not value.requires_grad for value in output.metrics.values()), (
            "guidance: metrics are scalars without gradient"
        )
        (gradient,) = torch.autograd.grad(output.loss, render.image, retain_graph=True)
        if output.critic_loss is not None:
            leaked = torch.autograd.grad(output.critic_loss, render.image, allow_unused=True)[0]
            assert leaked is None or not leaked.any(), "guidance: critic_loss has no gradient to the image"
        return output.loss, gradient

    for size in (1, 2):
        whole = views(4, group_size=size)
        loss, gradient = loss_and_gradient(whole, image)
        assert_finite([loss, gradient], "guidance")
        assert (gradient.flatten(1).norm(dim=1) > 0).all(), "guidance: every view receives a gradient"
        assert torch.equal(gradient, loss_and_gradient(whole, image)[1]), "guidance: all randomness comes from the batch"
        groups = [loss_and_gradient(views(size, first=i, group_size=size), image[i : i + size])[1] for i in range(0, 4, size)]
        mean = torch.cat(groups) * size / 4
        tolerance = 1e-6 * float(mean.abs().max())
        assert torch.allclose(gradient, mean, rtol=1e-3, atol=tolerance), "guidance: a mean over groups of views"
    learning = {id(parameter) for parameter in guidance.parameters() if parameter.requires_grad}
    assert learning == {id(parameter) for parameter in guidance.trainable().parameters()}, (
        "guidance: trainable() holds all trained parameters"
    )


def check_loss(cfg: Settings) -> None:
    """A render -> a number that is a mean over views."""
    term = build(cfg)

    def shown(part: ViewBatch) -> ViewBatch:
        own = term.own_views(part)
        return part if own is None else own

    batch = shown(views(2))
    render = synthetic_render(batch)
    value = term(render, batch)
    assert value.shape == (), "loss: a scalar"
    weight = cfg.weight(0)
    assert isinstance(weight, float), "loss: its config has a weight that is a Schedule"
    inputs = differentiable_tensors(render)
    gradients = torch.autograd.grad(value, inputs, allow_unused=True)
    assert any(gradient is not None for gradient in gradients), "loss: no gradient reaches the render"
    assert_finite([value, *gradients], "loss")
    single = [term(synthetic_render(part), part) for part in map(shown, (views(1, first=0), views(1, first=1)))]
    assert torch.allclose(value, torch.stack(single).mean(), rtol=1e-4), "loss: a mean over views, not over a batch's pixels"


def differentiable_tensors(render: RenderOutput) -> list[Tensor]:
    """The tensors of a render that a loss can have gradients to."""
    tensors = [render.image, render.opacity, render.depth, render.normal]
    if render.samples is not None:
        tensors += [render.samples.weights, render.samples.normal, render.samples.gradient, render.samples.nearby_normal]
    tensors += [None if render.mesh is None else render.mesh.vertices, render.edge_distances]
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
        assert paths and all(path.is_file() and path.stat().st_size > 0 for path in paths), "exporter: paths are files that exist"
        assert all(path.is_relative_to(folder) for path in paths), "exporter: all files are in its folder"
        json.dumps(exported.report)
        assert exported.mesh is None or exported.mesh.vertices.isfinite().all(), "exporter: the mesh is finite"


def check_logger(cfg: Settings) -> None:
    """A run folder and the text of its config -> Lightning loggers."""
    with tempfile.TemporaryDirectory() as folder:
        loggers = build(cfg, Path(folder), "name: x")
        assert all(isinstance(logger, Logger) for logger in loggers), "logger: returns a list of Lightning loggers"


def check_viewer(cfg: Settings) -> None:
    """It serves, and takes everything that a training shows, with nobody looking."""
    viewer, picture = build(cfg), np.zeros((4, 4, 3), np.uint8)
    viewer.close()  # before it serves
    try:
        assert "://" in viewer.open(), "viewer: open() returns a link"
        pose = Pose(np.eye(4), 0.8, 1.0)
        for _ in range(2):  # a run has stages
            viewer.prepare("*a* <b>title</b>", ["colour"], [Dial("guidance.t_min", 0.1, 0.0, 1.0)], pose)
        viewer.paint(7, picture)
        viewer.tell(Status(3, None, 0.0, note="<script>"))
        viewer.tell(Status(3, 10, 1.0, {"render": 2.0}, {"guidance": 1.0}, {"guidance.t_min": 0.2}, True))
        viewer.plot(np.arange(3), {"loss": np.array([1.0, np.nan, 2.0]), "empty": np.full(3, np.nan)})
        viewer.explain({"Views": picture})
        viewer.explain({})
        assert viewer.take() == [], "viewer: nothing happens with nobody looking, not even when a dial follows its schedule"
    finally:
        viewer.close()
        viewer.close()


CONTRACTS: dict[str, Callable[[Settings], None]] = {
    "prompt": check_prompt,
    "camera": check_camera,
    "prior": check_prior,
    "guidance": check_guidance,
    "loss": check_loss,
    "optimizer": check_optimizer,
    "exporter": check_exporter,
    "logger": check_logger,
    "viewer": check_viewer,
}
"""By kind."""
