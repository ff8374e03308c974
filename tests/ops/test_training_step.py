"""Training steps on every backend lead to the same scene."""

from pathlib import Path

import torch

from threefusion.config import load_config
from threefusion.ops.backend import backend
from threefusion.registry import build
from threefusion.system.scene import build_scene
from threefusion.types import Want, view_generator

CONFIG = Path(__file__).parents[2] / "configs" / "quickstart.yaml"
SMALL = ["camera.height=12", "camera.width=12", "camera.batch_size=2", "renderer.sampler.samples_per_ray=24"]


def trained(name, encoding, steps=20):
    """Parameters after steps towards an image, with normals in the loss."""
    config = load_config(CONFIG, [*SMALL, *encoding])
    with backend(name):
        (scene, renderer), cameras = build_scene(config), build(config.camera)
        optimizer = build(config.optimizer).create(scene)
        losses = []
        for step in range(steps):
            batch = cameras.sample(step, 0, torch.arange(2))
            renderer.update(scene, step, view_generator(0, step, 0, "on_step"))
            out = renderer(scene, batch, Want(normals=True, samples=True, random=True))
            target = torch.zeros_like(out.image)
            target[:, 4:8, 3:9, 0] = 1
            facing = (out.samples.normal * out.samples.direction).sum(-1).clamp_min(0)
            loss = (out.image - target).square().mean() + 0.01 * (out.samples.weights * facing.square()).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses, [parameter.detach() for parameter in scene.parameters()]


def test_twenty_steps_lead_to_the_same_parameters_on_every_backend():
    for encoding in (
        ["geometry.encoding=dense-grid", "geometry.encoding.levels=2", "geometry.encoding.base_resolution=8"],
        ["geometry.encoding=hash-grid", "geometry.encoding.log2_table_size=10", "geometry.encoding.levels=6"],
    ):
        (plain_losses, plain), (losses, fast) = (trained(name, encoding) for name in ("torch", "numba"))
        assert losses[-1] < losses[0] - 0.01
        assert max(abs(a - b) for a, b in zip(losses, plain_losses, strict=True)) < 1e-5
        for a, b in zip(fast, plain, strict=True):
            assert (a - b).abs().max() < 1e-4 * max(1.0, b.abs().max())


def test_the_number_of_threads_changes_no_bit(kernel_threads):
    encoding = ["geometry.encoding=dense-grid", "geometry.encoding.levels=2", "geometry.encoding.base_resolution=8"]
    results = []
    for threads in (1, 2, 3):
        kernel_threads(threads)
        results.append(trained("numba", encoding, steps=4)[1])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
