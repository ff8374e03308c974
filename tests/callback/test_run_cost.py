"""The cost of a run is the time and the evaluations of its own parts."""

import pytorch_lightning as pl
import torch

from threefusion.callback.run_cost import RunCost
from threefusion.config.catalogue import settings_class
from threefusion.registry import build


def evaluate(prior, *sizes):
    for size in sizes:
        condition = prior.text_encoder().encode(["a"]).expand(size)
        prior.predict(torch.randn(size, 3, 4, 4), torch.full((size,), 0.5), condition)


def test_evaluations_of_all_priors_count_from_the_start_of_training_and_over_resumes():
    one, two = (build(settings_class("prior", "gaussian")(image_size=4)) for _ in range(2))
    evaluate(one, 3)
    module, trainer = pl.LightningModule(), pl.Trainer(logger=False, enable_checkpointing=False)
    module.priors = (one, two)
    cost = RunCost()
    cost.load_state_dict({"seconds": 5.0, "calls": 10, "images": 20})
    assert cost.total == {"seconds": 5.0, "calls": 10, "images": 20}
    cost.on_train_start(trainer, module)
    evaluate(one, 6, 2)
    evaluate(two, 1)
    cost.on_train_end(trainer, module)
    total = cost.state_dict()
    assert (total["calls"], total["images"]) == (13, 29)
    assert 5.0 < total["seconds"] < 15.0
    assert cost.total == total
