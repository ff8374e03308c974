"""Cost of a training, as report.json has it, and of several stages together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from threefusion.system.phases import OTHER, PHASES, as_text, per_step

if TYPE_CHECKING:
    from threefusion.callback.run_cost import RunCost
    from threefusion.system.text_to_3d import TextTo3D

COST = {
    "steps",
    "seconds",
    "phase_seconds",
    "phase_milliseconds_per_step",
    "peak_memory_bytes",
    "network_calls",
    "network_images",
}
"""What the report of every stage holds, and what `total_cost` adds up."""


def speed(report: dict[str, Any]) -> str:
    """Steps, seconds, iterations per second and where a step's time went, in one line."""
    rate = f"{report['steps']} steps in {report['seconds']:.1f} s, {report['iterations_per_second']:.3g} iterations/s"
    phases = report["phase_milliseconds_per_step"]
    others = [name for name in report.get("executions", []) if name != "eager"]
    network = f"; network on {', '.join(others)}" if others else ""
    return f"{rate}; a step: {as_text(phases)}{network}" if phases else rate + network


def measured_cost(system: TextTo3D, run_cost: RunCost, earlier: dict[str, Any] | None) -> dict[str, Any]:
    """What a training has cost up to now, in all its parts.

    The peak of memory is at least that of the `earlier` report: the system's own maximum may fall again.
    Network calls of other processes are taken to have been as many as this process made.
    """
    steps, processes = system.trainer.global_step, system.trainer.world_size
    total = run_cost.total
    phases = {name: total[name] for name in (*PHASES, OTHER)}
    known = (earlier or {}).get("peak_memory_bytes")
    return {
        "steps": steps,
        "seconds": round(total["seconds"], 2),
        "iterations_per_second": round(steps / max(total["seconds"], 1e-9), 3),
        "phase_seconds": {name: round(value, 2) for name, value in phases.items()},
        "phase_milliseconds_per_step": {name: round(value, 2) for name, value in per_step(phases, steps).items()},
        "peak_memory_bytes": max(total["memory"], known if isinstance(known, int) else 0) or None,
        "network_calls": total["calls"] * processes,
        "network_images": total["images"] * processes,
        "executions": [prior.execution for prior in system.priors],
    }


def total_cost(costs: list[dict[str, Any]]) -> dict[str, Any]:
    """The cost of all stages together, in the words of one, and of each."""
    steps, seconds = (sum(cost[name] for cost in costs) for name in ("steps", "seconds"))
    weighted = {
        name: sum(cost["phase_milliseconds_per_step"].get(name, 0) * cost["steps"] for cost in costs) / max(steps, 1)
        for name in costs[-1]["phase_seconds"]
    }
    return {
        "steps": steps,
        "seconds": round(seconds, 2),
        "iterations_per_second": round(steps / max(seconds, 1e-9), 3),
        "phase_seconds": {name: round(sum(c["phase_seconds"][name] for c in costs), 2) for name in costs[-1]["phase_seconds"]},
        "phase_milliseconds_per_step": {name: round(value, 2) for name, value in weighted.items()},
        "peak_memory_bytes": max(cost["peak_memory_bytes"] or 0 for cost in costs) or None,
        "network_calls": sum(cost["network_calls"] for cost in costs),
        "network_images": sum(cost["network_images"] for cost in costs),
        "executions": costs[-1].get("executions", []),
        "stages": costs,
    }
