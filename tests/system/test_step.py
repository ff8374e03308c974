"""One optimiser step: what it calls, how often, and that nobody who only looks changes it."""

import threading

import pytest
import pytorch_lightning as pl
import torch

from threefusion.camera.orbit import orbit_views
from threefusion.component import Component, following
from threefusion.config import load_config
from threefusion.renderer.views import render_views
from threefusion.run.trainer import make_trainer, silence_libraries
from threefusion.system.build import build_system
from threefusion.types import view_generator

KINDS = {"prompt", "camera", "encoding", "geometry", "material", "background", "sampler", "renderer", "prior", "guidance", "loss"}
"""Everything that takes part in a training step; the optimizer, which is called otherwise, and the exporter do not."""


def fit(system, folder, *callbacks, checkpoint=None):
    """Train the system without any of the run's own callbacks."""
    silence_libraries()
    trainer = make_trainer(system.config, folder, [], 0)
    trainer.callbacks[:] = callbacks
    trainer.fit(system, ckpt_path=checkpoint, weights_only=True)
    return trainer


@pytest.mark.parametrize("micro_batches", [1, 3])
def test_every_component_follows_the_step_once_before_it_renders(tiny, tmp_path, monkeypatch, micro_batches):
    overrides = ["trainer.max_steps=2", f"trainer.accumulate_grad_batches={micro_batches}"]
    system = build_system(load_config(tiny, overrides))
    calls = []

    def record(self, step, generator):
        calls.append((step, type(self).kind, torch.rand((), generator=generator).item()))

    for module in system.modules():
        if isinstance(module, Component):
            monkeypatch.setattr(type(module), "on_step", record)
    forward = type(system.renderer).forward
    monkeypatch.setattr(type(system.renderer), "forward", lambda *given: calls.append("render") or forward(*given))
    updates = []
    monkeypatch.setattr(type(system.renderer), "update", lambda self, scene, step, generator: updates.append((step, len(calls))))
    names = [name for name, _ in following(system)]
    fit(system, tmp_path)
    per_step = len(names) + micro_batches
    assert len(calls) == 2 * per_step
    for step in (0, 1):
        followed = calls[step * per_step : step * per_step + len(names)]
        assert {kind for at, kind, _ in followed if at == step} >= KINDS
        # all draw from streams of their own, which follow from seed, step and name alone
        assert [drawn for _, _, drawn in followed] == [
            torch.rand((), generator=view_generator(3, step, 0, f"on_step/{name}")).item() for name in names
        ]
        assert calls[step * per_step + len(names) : (step + 1) * per_step] == ["render"] * micro_batches
    assert updates == [(0, len(names)), (1, per_step + len(names))]


class Viewer(pl.Callback):
    """Renders the scene over and over from a thread of its own while it is trained."""

    def __init__(self, views):
        self.views, self.frames, self.stop = views, 0, threading.Event()

    def on_train_start(self, trainer, module):
        def run():
            while not self.stop.is_set():
                self.frames += len(list(render_views(module.renderer, module.scene, self.views, "normal")))

        self.thread = threading.Thread(target=run)
        self.thread.start()

    def on_train_end(self, trainer, module):
        self.stop.set()
        self.thread.join()


def test_a_viewer_in_another_thread_changes_no_bit_of_a_training(tiny, tmp_path):
    overrides = ["trainer.max_steps=12", "renderer.prune_below=1e-3", "background.random_probability=0.5"]
    alone, watched = (build_system(load_config(tiny, overrides)) for _ in range(2))
    viewer = Viewer(orbit_views(2, 0.3, 2.0, 0.8, 10, 10))
    fit(alone, tmp_path)
    fit(watched, tmp_path, viewer)
    assert viewer.frames >= 2
    state = watched.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in alone.state_dict().items())
