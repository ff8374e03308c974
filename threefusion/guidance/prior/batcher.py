"""One call of a network for the predictions of several trainings, each of which runs in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields

import torch
from jaxtyping import Float
from torch import Tensor

from threefusion.guidance.prior.conditioning import Conditioning
from threefusion.machine.memory import is_out_of_memory

Predictor = Callable[[Float[Tensor, "B C h w"], Float[Tensor, "B"], Conditioning], Float[Tensor, "B C h w"]]
"""Evaluates a network at noised states and times, under a condition."""


@dataclass(eq=False)
class Request:
    """What a training waits for."""

    scene: int
    """Its number: batches are in this order, whoever comes first."""
    predict: Predictor
    z: Float[Tensor, "B C h w"]
    t: Float[Tensor, "B"]
    condition: Conditioning
    answered: threading.Event = field(default_factory=threading.Event)
    output: Float[Tensor, "B C h w"] | None = None
    error: Exception | None = None

    @property
    def kind(self) -> tuple[object, ...]:
        """Requests of one kind fit into one batch."""
        tensors = [self.z, *(getattr(self.condition, name.name) for name in fields(Conditioning))]
        return self.predict, *(None if value is None else (value.shape[1:], value.dtype, value.device) for value in tensors)


class Batcher:
    """Waits until every training has either asked for a prediction or left, then answers all of them.

    At most `slots` trainings run at the same time; one that waits leaves its slot to another.
    """

    def __init__(self, slots: int) -> None:
        self._slots = threading.Semaphore(slots)
        self._changed = threading.Condition()
        self._members: set[int] = set()
        self._begun: set[int] = set()
        self._requests: list[Request] = []
        self.at_once: int | None = None
        """Requests in one call of a network, all unless memory has run out."""

    @property
    def members(self) -> int:
        """How many trainings are counted on."""
        return len(self._members)

    def join(self, scene: int) -> None:
        """Count on the requests of a training."""
        with self._changed:
            self._members.add(scene)

    def leave(self, scene: int) -> None:
        """Count no more on a training's requests; one that has left already may leave again."""
        with self._changed:
            self._members.discard(scene)
            self._changed.notify_all()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Hold a slot during the block."""
        with self._slots:
            yield

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Leave the slot to others during the block."""
        self._slots.release()
        try:
            yield
        finally:
            self._slots.acquire()

    def ask(
        self, scene: int, predict: Predictor, z: Float[Tensor, "B C h w"], t: Float[Tensor, "B"], condition: Conditioning
    ) -> Float[Tensor, "B C h w"]:
        """The prediction, from a call that answers others too. Called in the training's thread, which holds a slot."""
        if scene not in self._members:
            return predict(z, t, condition)
        request = Request(scene, predict, z, t, condition)
        with self._changed:
            self._requests.append(request)
            self._changed.notify_all()
        with self.waiting():
            request.answered.wait()
        if request.error is not None:
            raise request.error
        assert request.output is not None
        return request.output

    def arrived(self, scene: int) -> bool:
        """Whether a training waits for an answer, or has left."""
        return scene not in self._members or any(request.scene == scene for request in self._requests)

    def begin(self, scene: int) -> None:
        """A training has taken a step, with or without a prediction."""
        with self._changed:
            self._begun.add(scene)
            self._changed.notify_all()

    def wait_for(self, scene: int) -> None:
        """Return when a training has arrived at its first request, taken a step without one, or left."""
        with self._changed:
            self._changed.wait_for(lambda: scene in self._begun or self.arrived(scene))

    def serve(self) -> bool:
        """Answer the requests of all members when each has one, or return when one has left; false when none is left."""
        with self._changed:
            before = len(self._members)
            self._changed.wait_for(lambda: len(self._members) != before or all(map(self.arrived, self._members)))
            if len(self._members) != before:
                return bool(self._members)
            requests, self._requests = sorted(self._requests, key=lambda request: request.scene), []
        kinds: dict[tuple[object, ...], list[Request]] = {}
        for request in requests:
            kinds.setdefault(request.kind, []).append(request)
        for group in kinds.values():
            self._answer(group)
        return bool(requests)

    def _answer(self, group: list[Request]) -> None:
        size = self.at_once or len(group)
        for part in (group[first : first + size] for first in range(0, len(group), size)):
            try:
                outputs = together(part)
            except Exception as error:
                self._answer_apart(part, error)
                continue
            for request, output in zip(part, outputs, strict=True):
                request.output = output
                request.answered.set()

    def _answer_apart(self, part: list[Request], error: Exception) -> None:
        """Answer fewer at once after an error, down to one training, which gets to know of its own."""
        if len(part) == 1:
            part[0].error = error
            part[0].answered.set()
            return
        if is_out_of_memory(error):
            self.at_once = -(-len(part) // 2)
            error.__traceback__ = None  # which holds the tensors of the failed call
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            self._answer(part)
            return
        for request in part:
            try:
                (request.output,) = together([request])
            except Exception as own:
                request.error = own
            request.answered.set()


@torch.no_grad()
def together(requests: Sequence[Request]) -> Sequence[Float[Tensor, "B C h w"]]:
    """The outputs for several requests of one kind, from one call."""
    if len(requests) == 1:
        (one,) = requests
        return [one.predict(one.z, one.t, one.condition)]
    z, t = (torch.cat([getattr(request, name) for request in requests]) for name in ("z", "t"))
    output = requests[0].predict(z, t, Conditioning.cat([request.condition for request in requests]))
    return output.split([len(request.z) for request in requests])
