"""One step of every stage, on a scene of its own, with everything counted that it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from math import isqrt

import torch

from threefusion.callback.images import evaluation_orbit, look
from threefusion.geometry.geometry import CanvasGeometry
from threefusion.machine.memory import retry_on_oom
from threefusion.plan.meter import Meter, metered
from threefusion.plan.scaling import same_chunks, scaled
from threefusion.plan.stages import Stage, largest_batch
from threefusion.plan.step_memory import StepMemory, StepTrace
from threefusion.renderer.volume import Volume
from threefusion.system.phases import PhaseClock
from threefusion.system.text_to_3d import TextTo3D
from threefusion.types import ViewBatch


class PhaseMeter(PhaseClock):
    """In place of a clock: what is alive in each phase, and at its end."""

    def __init__(self, meter: Meter) -> None:
        super().__init__()
        self._meter = meter
        self.laps: dict[str, list[int]] = {}
        self.left: dict[str, int] = {}

    def start(self, phase: str, device: torch.device) -> None:
        """Begin `phase`."""
        self._meter.lap()

    def stop(self, phase: str, device: torch.device) -> None:
        """End `phase`."""
        self.laps[phase], self.left[phase] = self._meter.lap(), self._meter.now


class DryRun:
    """Steps on a scene that is thrown away. Neither the global random numbers nor any other scene notice."""

    def __init__(
        self, system: TextTo3D, device: torch.device, precision: Callable[[], AbstractContextManager], most_samples: int
    ) -> None:
        self.system = system
        self.device = device
        self.precision = precision
        self.most_samples = most_samples
        self.optimizer = system.configure_optimizers()
        self._parameters = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        for parameter in self._parameters:
            parameter.grad = torch.zeros_like(parameter)
        # makes the moments, which are there from the second step on
        self.optimizer.step()

    def scene_bytes(self) -> dict[str, int]:
        """What the scene takes all the time."""
        state = [value for values in self.optimizer.state.values() for value in values.values() if torch.is_tensor(value)]
        return {
            "parameters": sum(tensor.nbytes for tensor in self.system.renderer.state_dict().values()),
            "gradients": sum(parameter.nbytes for parameter in self._parameters),
            "optimizer": sum(value.nbytes for value in state),
        }

    def step(self, stage: Stage) -> StepMemory:
        """What a step of the stage takes while no part of space is known to be empty: `on_step`, which would know, is left out.

        Raises:
            UserError: it does not fit into the memory whatever the chunk.
        """
        batch = largest_batch(self.system, stage).to(self.device)
        return retry_on_oom(lambda: self._spared(self._step, batch), self.system.renderer.spare_memory).memory()

    def picture(self, size: int) -> int:
        """The most that is alive while one preview, or one frame of the turntable, is rendered with its normals."""
        renderer = self.system.renderer
        side = min(size, isqrt(renderer.rays.size)) if isinstance(renderer, Volume) else size
        renderer.eval()
        try:
            return self._spared(self._picture, evaluation_orbit(self.system.camera, 1, side).to(self.device)).memory().render
        finally:
            renderer.train()

    def _spared(self, measure: Callable[[ViewBatch], StepTrace], batch: ViewBatch) -> StepTrace:
        """measure(batch); on a processor by way of smaller ones if more than `most_samples` are looked at."""
        renderer = self.system.renderer
        if self.device.type != "cpu" or not isinstance(renderer, Volume):
            return measure(batch)
        samples, chunk = self._samples(batch), renderer.samples.size
        if samples <= self.most_samples:
            return measure(batch)

        def measure_small(fewer: ViewBatch) -> StepTrace:
            renderer.samples.size = same_chunks(self._samples(fewer), samples, chunk)
            return measure(fewer)

        try:
            told = scaled(measure_small, batch, samples)
        finally:
            renderer.samples.size = chunk
        return told or measure(batch)

    @torch.no_grad()
    def _samples(self, batch: ViewBatch) -> int:
        return len(self.system.renderer.sampler(batch.camera.rays(), batch).t_start)

    def _step(self, batch: ViewBatch) -> StepTrace:
        system = self.system
        self._drop_gradients()
        with metered(self.device) as meter, largest_input(system) as inputs:
            phases = system.clock = PhaseMeter(meter)
            with self.precision():
                loss, _ = system.weighed(batch)
            meter.lap()
            loss.backward()
            self.optimizer.step()
            backward = meter.lap()
        self._drop_gradients()
        laps = phases.laps
        return StepTrace(self._looked_at(), phases.left["render"], laps["render"], laps["guidance"], backward, max(inputs))

    def _looked_at(self) -> int | None:
        return self.system.renderer.samples.present if isinstance(self.system.renderer, Volume) else None

    def _picture(self, batch: ViewBatch) -> StepTrace:
        mode = "albedo" if isinstance(self.system.scene.geometry, CanvasGeometry) else "normal"
        with metered(self.device) as meter:
            next(look(self.system.scene, batch, mode))
            return StepTrace(self._looked_at(), 0, meter.lap(), [0], [0], 0)

    def _drop_gradients(self) -> None:
        """Also those of a guidance that learns, which the real run shares."""
        self.system.zero_grad(set_to_none=True)


@contextmanager
def largest_input(system: TextTo3D) -> Iterator[list[int]]:
    """The sizes of the batches that the prior's network is given inside the block."""
    prior, sizes = system.guidance.prior, [0]
    predict_noise = prior.predict_noise

    def counted(z: torch.Tensor, timesteps: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        sizes.append(len(z))
        return predict_noise(z, timesteps, tokens)

    prior.predict_noise = counted
    try:
        yield sizes
    finally:
        prior.predict_noise = predict_noise
