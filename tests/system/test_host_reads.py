"""A training step does not make the host wait for the device, but for what the docs name."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
import pytorch_lightning as pl
import torch
from host_reads import host_reads, uncounted

from threefusion.callback.snapshot import Interrupt
from threefusion.config import load_config
from threefusion.ops.backend import backend
from threefusion.renderer import pruning
from threefusion.run.trainer import make_trainer, silence_libraries
from threefusion.system.build import build_system

DOCUMENTED = {"nonzero": 2}
"""docs/logging-and-devices.md: the rays that meet the scene, and the samples that are kept."""


def test_every_kind_of_read_is_seen(monkeypatch):
    value, known = torch.arange(3.0), torch.arange(3)
    with host_reads(monkeypatch, [known]) as counts:
        known.tolist()
        assert not counts
        value.sum().item()
        bool(value.any())
        value[value > 1]
        value.tolist()
        value.long().bincount()
    assert counts == {"_local_scalar_dense": 2, "nonzero": 1, "tolist": 1, "bincount": 1}


class Counting(pl.Callback):
    """Counts the reads of every whole step: Lightning, training step, backward pass and optimiser, up to the logging.

    Making the views, and asking whether one of them is lit, is work of the host with tensors of the host.
    """

    def __init__(self, monkeypatch):
        self.monkeypatch, self.steps, self.on_host, self.open = monkeypatch, [], [], ExitStack()

    def on_train_start(self, trainer, module):
        views, material = module.views, module.scene.material
        needs_normal = material.needs_normal

        def made_on_host(batches_seen):
            with uncounted(self.steps[-1]):
                batch = views(batches_seen)
            self.on_host[:] = [batch.index, batch.shading, batch.group]
            return batch

        def asked_on_host(shading):
            assert shading is self.on_host[1]
            with uncounted(self.steps[-1]):
                return needs_normal(shading)

        self.monkeypatch.setattr(module, "views", made_on_host)
        self.monkeypatch.setattr(material, "needs_normal", asked_on_host)

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        self.steps.append(self.open.enter_context(host_reads(self.monkeypatch, self.on_host)))

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.open.close()


def reads(tiny, folder, monkeypatch, *overrides):
    """Counts of six steps, the last two of them with lit views and normals."""
    silence_libraries()
    config = load_config(tiny, ["trainer.max_steps=6", "trainer.log_every_n_steps=10", *overrides])
    counting = Counting(monkeypatch)
    trainer = make_trainer(config, folder, [Interrupt()], 0)
    trainer.callbacks[:] = [counting]
    # the reference: kernels for processors read their arguments by their nature
    with backend("torch"):
        trainer.fit(build_system(config))
    return [dict(counts) for counts in counting.steps]


def test_a_step_reads_what_is_documented_and_nothing_else(tiny, tmp_path, monkeypatch):
    assert reads(tiny, tmp_path, monkeypatch, "camera.lit_probability=1") == [DOCUMENTED] * 6


def test_the_priors_networks_read_nothing(tiny, tmp_path, monkeypatch):
    overrides = ["guidance.prior={type: pixel, model: toyworld-pixel}", "guidance.guidance_scale=7", "trainer.max_steps=2"]
    assert reads(tiny, tmp_path, monkeypatch, *overrides) == [DOCUMENTED] * 2


def test_pruning_reads_how_much_is_left_and_now_and_then_whether_it_pays(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(pruning, "INTERVAL", 2)
    counts = reads(tiny, tmp_path, monkeypatch, "renderer.prune_below=0.5")
    assert counts[:2] == [DOCUMENTED | {"_local_scalar_dense": 1}, DOCUMENTED]
    assert counts[2:] == [{"nonzero": 3, "_local_scalar_dense": 1}, {"nonzero": 3}] * 2


@pytest.mark.gpu
def test_on_a_gpu_a_step_waits_where_it_is_documented(tiny, tmp_path, monkeypatch, recwarn):
    class Waiting(pl.Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            torch.cuda.set_sync_debug_mode("warn")
            self.before = len(recwarn)

        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
            torch.cuda.set_sync_debug_mode("default")
            waits.append(len(recwarn) - self.before)

    waits = []
    silence_libraries()
    config = load_config(tiny, ["trainer.accelerator=cuda", "trainer.max_steps=6", "trainer.log_every_n_steps=10"])
    trainer = make_trainer(config, tmp_path, [Interrupt()], 0)
    trainer.callbacks[:] = [Waiting()]
    trainer.fit(build_system(config))
    assert waits[1:] == [DOCUMENTED["nonzero"]] * 5
