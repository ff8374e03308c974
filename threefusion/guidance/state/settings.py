"""Settings of the built-in states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from threefusion.config.fields import Schedule, Settings, bounded
from threefusion.registry import component


@component("state", "noised", "threefusion.guidance.state.noised:Noised")
@dataclass(frozen=True)
class NoisedConfig(Settings):
    """Views with added noise."""


@component("state", "interval", "threefusion.guidance.state.interval:Interval")
@dataclass(frozen=True)
class IntervalConfig(Settings):
    """Views inverted without a prompt, and the interval before the last step."""

    reads_noise: ClassVar[bool] = False
    """Whether the objective's source of noise matters."""

    stride: float = bounded(0.2, 0, 1, open_low=True)
    """Length of a step of the inversion, as a fraction of the schedule; δ_S = 200 of 1000 timesteps."""
    interval: Schedule = bounded(Schedule(((0, 0.1), (1500, 0.08))), 0, 1)
    """Length of the last step, δ_T."""


@component("state", "inverted", "threefusion.guidance.state.inverted:Inverted")
@dataclass(frozen=True)
class InvertedConfig(Settings):
    """Views with the noise that an inversion under the prompt leads to."""

    guidance_scale: float = bounded(-7.5, -1e6, 1e6)
    """Classifier-free guidance of the inversion; against that of the denoising, so that errors cancel."""
    steps: int = bounded(10, 1, 1000)
    """Steps of an inversion over the whole schedule; one to time t has t times as many."""
    beyond: float = bounded(1 / 30, 0, 1)
    """How far beyond t the inversion goes at most, as a fraction of the schedule: a random share of it."""
    stochasticity: float = bounded(0.3, 0, 10)
    """Standard deviation of the noise added to the inverted noise, times sigma."""


@component("state", "refined", "threefusion.guidance.state.refined:Refined")
@dataclass(frozen=True)
class RefinedConfig(Settings):
    """Views with noise that was replaced by its prediction."""

    iterations: int = bounded(1, 1, 100)
    """How often the noise is replaced by its prediction under the prompt."""
