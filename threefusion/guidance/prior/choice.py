"""`execution: auto`: whether a run's network goes on in torch or on OpenVINO."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from threefusion.errors import UserError
from threefusion.guidance.prior.execution import Call, is_small
from threefusion.guidance.prior.openvino_network import import_openvino
from threefusion.machine.files import locked, read_json, write_atomically
from threefusion.messages import Noted, send

Choice = Literal["eager", "openvino"]
FIRST_STEP = 16
"""The optimiser step at which it is decided: a shorter run is over before the export pays."""
ROUNDS = 5
"""Calls of each that are measured."""


def choose(network: nn.Module, inputs: tuple[Tensor, ...], prepare: Callable[[str], Call]) -> tuple[Choice, Call]:
    """What is faster on this machine for these inputs, as `prepare` makes it: measured once, then read from the cache.

    Without OpenVINO, away from the CPU and for large networks "eager". Where nothing can be written, "openvino": another run
    with the same seed chooses the same.
    """
    eager = prepare("auto")
    if inputs[0].device.type != "cpu" or not is_small(network) or find_spec("openvino") is None:
        return "eager", eager
    try:
        exported = prepare("openvino")
        exported(*inputs)
    except UserError as error:  # an installation that is damaged
        send(Noted(f"guidance.prior.execution: auto goes on in torch: {error}"))
        return "eager", eager
    path = exported.latest.path.with_suffix(".json")
    times = remembered(path, lambda: best_times(inputs, eager=eager, openvino=exported))
    return ("eager", eager) if times and times["eager"] < times["openvino"] else ("openvino", exported)


def refuse_unavailable(chosen: str | None) -> None:
    """Refuse to go on with a run whose network this machine cannot run as before.

    Raises:
        UserError: with both remedies.
    """
    if chosen == "openvino":
        try:
            import_openvino()
        except UserError as error:
            advice = "Or go on in torch, with other rounding: guidance.prior.execution=eager"
            raise UserError(f"this run's network runs on OpenVINO (guidance.prior.execution: auto). {error}. {advice}") from error


def remembered(path: Path, measure: Callable[[], dict[str, float]]) -> dict[str, float] | None:
    """The times in a file, which are measured if there is none; None where it cannot be written.

    Of several processes that have measured, all use what the first has written.
    """
    if (times := read_times(path)) is None:
        measured = measure()
        try:
            with locked(path.with_suffix(".lock"), f"{path}: locked", seconds=60.0):
                times = read_times(path) or measured
                write_atomically(path, json.dumps(times) + "\n")
        except UserError:
            return None
    return times


def read_times(path: Path) -> dict[str, float] | None:
    """Seconds of a call by `Choice`; None if they are missing or damaged."""
    times = read_json(path) or {}
    return times if all(isinstance(times.get(name), float) for name in get_args(Choice)) else None


def best_times(inputs: tuple[Tensor, ...], **calls: Callable[..., object]) -> dict[str, float]:
    """The shortest time of a call of each, in turns."""
    times = {name: [] for name in calls}
    with torch.no_grad():
        for _ in range(ROUNDS):
            for name, call in calls.items():
                start = time.perf_counter()
                call(*inputs)
                times[name].append(time.perf_counter() - start)
    return {name: min(values) for name, values in times.items()}
