"""The cost of a run is the time and the evaluations of its own parts."""

import pytest
import pytorch_lightning as pl
import torch

from threefusion.callback.run_cost import RunCost
from threefusion.config.catalogue import settings_class
from threefusion.registry import build
from threefusion.system.phases import PhaseClock


def evaluate(prior, *sizes):
    for size in sizes:
        condition = prior.text_encoder().encode(["a"]).expand(size)
        prior.predict(torch.randn(size, 3, 4, 4), torch.full((size,), 0.5), condition)


def test_evaluations_of_all_priors_count_from_the_start_of_training_and_over_resumes():
    one, two = (build(settings_class("prior", "gaussian")(image_size=4)) for _ in range(2))
    evaluate(one, 3)
    module, trainer = pl.LightningModule(), pl.Trainer(logger=False, enable_checkpointing=False)
    module.priors, module.clock, module.trainer = (one, two), PhaseClock(), trainer
    cost = RunCost()
    phases = {"render": 2.0, "guidance": 1.0, "backward": 1.0, "other": 1.0}
    before = {"seconds": 5.0, "calls": 10, "images": 20, "memory": 1, **phases}
    cost.load_state_dict(before)
    assert cost.total == before
    cost.on_train_start(trainer, module)
    with module.clock.measure("render", module.device):
        evaluate(one, 6, 2)
        evaluate(two, 1)
    cost.on_train_end(trainer, module)
    total = cost.state_dict()
    assert (total["calls"], total["images"]) == (13, 29)
    assert 5.0 < total["seconds"] < 15.0
    assert total["render"] > 2.0 and (total["guidance"], total["backward"]) == (1.0, 1.0)
    assert sum(total[name] for name in phases) == pytest.approx(total["seconds"])
    assert total["memory"] > 1e6
    cost.load_state_dict({**before, "memory": 1 << 60})
    assert cost.total["memory"] == 1 << 60
