"""Requests of several threads: answered together, in the same order, and apart where together they fail."""

from __future__ import annotations

import threading
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from threefusion.guidance.prior.batcher import Batcher
from threefusion.guidance.prior.conditioning import Conditioning
from threefusion.guidance.prior.prior import DiffusionPrior, TextEncoder
from threefusion.guidance.prior.settings import GaussianConfig
from threefusion.guidance.prior.shared import PriorPool, SharedPrior

OWN = {"predict", "kind", "cfg", "evaluations", "dump_patches", "call_super_init", "T_destination", "training"}


class Network:
    """A network that fails for more items than it has memory for, and at NaN."""

    def __init__(self, most: int = 99) -> None:
        self.most, self.calls = most, []

    def __call__(self, z: Tensor, t: Tensor, condition: Conditioning) -> Tensor:
        self.calls.append(z[:, 0, 0, 0].tolist())
        if len(z) > self.most:
            raise torch.OutOfMemoryError("CUDA error: out of memory")
        if z.isnan().any():
            raise RuntimeError("not a number")
        return z + t.view(-1, 1, 1, 1) + condition.tokens.mean((1, 2)).view(-1, 1, 1, 1)


def ask_all(network: Network, values: list[float], rounds: int = 1, tokens: tuple[int, ...] = ()) -> tuple[Batcher, dict]:
    """The answers to a request of each thread, or its error."""
    batcher, answers = Batcher(slots=1), {}

    def ask(scene: int) -> None:
        with batcher.running():
            for _ in range(rounds):
                z, length = torch.full((1, 1, 2, 2), values[scene]), (tokens or (3,) * len(values))[scene]
                try:
                    output = batcher.ask(scene, network, z, torch.ones(1), Conditioning(torch.ones(1, length, 2)))
                    answers.setdefault(scene, []).append(output[0, 0, 0, 0].item())
                except Exception as error:
                    answers.setdefault(scene, []).append(error)
        batcher.leave(scene)

    threads = [threading.Thread(target=ask, args=(scene,)) for scene in range(len(values))]
    for scene in range(len(values)):
        batcher.join(scene)
    for thread in reversed(threads):
        thread.start()
    while batcher.serve():
        pass
    for thread in threads:
        thread.join()
    return batcher, answers


def test_all_are_answered_by_one_call_in_the_order_of_the_scenes() -> None:
    network = Network()
    _, answers = ask_all(network, [5.0, 6.0, 7.0], rounds=3)
    assert answers == {0: [7.0] * 3, 1: [8.0] * 3, 2: [9.0] * 3}
    assert network.calls == [[5.0, 6.0, 7.0]] * 3


def test_what_does_not_fit_together_is_called_apart() -> None:
    network = Network()
    _, answers = ask_all(network, [5.0, 6.0, 7.0], tokens=(3, 4, 3))
    assert answers == {0: [7.0], 1: [8.0], 2: [9.0]}
    assert sorted(network.calls) == [[5.0, 7.0], [6.0]]


def test_out_of_memory_makes_smaller_batches_from_then_on() -> None:
    network = Network(most=2)
    batcher, answers = ask_all(network, [1.0, 2.0, 3.0, 4.0, 5.0], rounds=2)
    assert answers == {scene: [scene + 3.0] * 2 for scene in range(5)}
    assert batcher.at_once == 2
    assert network.calls[-3:] == [[1.0, 2.0], [3.0, 4.0], [5.0]]
    _, alone = ask_all(Network(most=0), [1.0, 2.0])
    assert all(isinstance(error, torch.OutOfMemoryError) for (error,) in alone.values())


def test_an_error_reaches_only_the_scene_whose_it_is() -> None:
    _, answers = ask_all(Network(), [1.0, float("nan"), 3.0])
    assert (answers[0], answers[2]) == ([3.0], [5.0])
    assert str(answers[1][0]) == "not a number"


def test_a_training_without_predictions_holds_nobody_up() -> None:
    batcher = Batcher(slots=1)
    batcher.join(0)
    batcher.begin(0)
    batcher.wait_for(0)
    batcher.leave(0)
    assert not batcher.serve()


def test_a_share_passes_on_the_whole_contract() -> None:
    contract = {name for name in vars(DiffusionPrior) | DiffusionPrior.__annotations__ if not name.startswith("_")}
    assert contract - OWN <= vars(SharedPrior).keys()


def test_shares_have_one_prior_and_their_own_counts() -> None:
    pool = PriorPool(Batcher(1), [])
    one, two, other = (pool.share(GaussianConfig(image_size=size), scene) for scene, size in enumerate((8, 8, 16)))
    assert one.prior is two.prior is not other.prior
    assert (one.shape, other.shape) == ((3, 8, 8), (3, 16, 16))
    condition = one.text_encoder().encode(["a ball"])
    z = torch.zeros(1, 3, 8, 8)
    assert torch.equal(
        one.predict(z, torch.full((1,), 0.5), condition).noise, one.prior.predict(z, torch.full((1,), 0.5), condition).noise
    )
    assert (one.evaluations.calls, two.evaluations.calls) == (1, 0)
    assert not list(one.children()) and one.cfg == two.cfg


def test_a_training_that_ends_leaves_the_networks_where_they_are() -> None:
    pool = PriorPool(Batcher(1), [])
    one, two = (pool.share(GaussianConfig(), scene) for scene in range(2))
    one.to("meta")
    assert one.device.type == two.device.type == pool.device.type == "meta"
    one._apply(lambda tensor: torch.empty_like(tensor, device="cpu"))  # nothing is copied from meta
    assert two.device.type == "meta"


def test_texts_of_all_scenes_are_encoded_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Encoder(TextEncoder):
        calls: ClassVar[list[list[str]]] = []

        def encode(self, texts: list[str]) -> Conditioning:
            self.calls.append(texts)
            return Conditioning(torch.tensor([[[float(len(text))]] for text in texts]))

    pool = PriorPool(Batcher(1), ["a ball", "", "a cube", ""])
    share = pool.share(GaussianConfig(), 0)
    monkeypatch.setattr(type(share.prior), "text_encoder", lambda self: Encoder())
    assert share.text_encoder().encode(["a ball", "blurry"]).tokens.flatten().tolist() == [6.0, 6.0]
    assert share.text_encoder().encode(["a cube", ""]).tokens.flatten().tolist() == [6.0, 0.0]
    assert Encoder.calls == [["a ball", "blurry", "", "a cube"]]
