"""What is installed on this machine, what is missing, and the command that installs it."""

from __future__ import annotations

import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from typing import Any

import threefusion
from threefusion.cli.describe import problems
from threefusion.machine.optional import INSTALL
from threefusion.machine.process import cores


def examine() -> dict[str, Any]:
    """Versions, devices, optional packages, models and broken plugins."""
    from threefusion.guidance.prior.models import reachability

    return {
        "threefusion": threefusion.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in required()},
        "devices": devices(),
        "optional": {name: {"version": _version(name), "command": command} for name, command in INSTALL.items()},
        "models": reachability(),
        "problems": problems(),
    }


def required() -> list[str]:
    """The distributions that this one requires; none if it runs from a folder without being installed."""
    try:
        requirements = requires("threefusion") or []
    except PackageNotFoundError:
        return []
    return [re.match(r"[\w.-]+", text)[0] for text in requirements if "extra ==" not in text]


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def devices() -> list[dict[str, Any]]:
    """Devices that torch can use, the CPU first."""
    devices: list[dict[str, Any]] = [{"name": "cpu", "cores": cores()}]
    try:
        import torch
    except ImportError:
        return devices
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        devices.append({"name": f"cuda:{index}", "model": properties.name, "memory_bytes": properties.total_memory})
    if torch.backends.mps.is_available():
        devices.append({"name": "mps", "model": platform.processor()})
    return devices


def as_page(report: dict[str, Any]) -> str:
    """`doctor` for people."""
    lines = [f"threefusion {report['threefusion']}, Python {report['python']}, {report['platform']}", "", "devices"]
    lines += [f"  {_device(device)}" for device in report["devices"]]
    lines += ["", "packages"]
    missing = [name for name, installed in report["packages"].items() if installed is None]
    lines += ["  " + ", ".join(f"{name} {installed}" for name, installed in report["packages"].items() if installed)]
    lines += [f"  MISSING {name}: {sys.executable} -m pip install {name}" for name in missing]
    lines += ["", "optional"]
    for name, part in report["optional"].items():
        lines.append(f"  {name:<12} {part['version'] or 'not installed; install it with: ' + part['command']}")
    lines += ["", "models"]
    for name, model in report["models"].items():
        lines.append(f"  {name:<26} {_model(model)}")
    if report["problems"]:
        lines += ["", "plugins", *(f"  {problem}" for problem in report["problems"])]
    return "\n".join(lines)


def _device(device: dict[str, Any]) -> str:
    if "cores" in device:
        return f"{device['name']}: {device['cores']} cores"
    memory = f", {device['memory_bytes'] / 2**30:.0f} GiB" if "memory_bytes" in device else ""
    return f"{device['name']}: {device['model']}{memory}"


def _model(model: dict[str, Any]) -> str:
    if model["available"]:
        return f"{model['prior']}, in {model['folder']}; licence: {model['licence']}"
    state = f"incomplete ({model['incomplete']})" if model["incomplete"] else "not here"
    return f"{model['prior']}, {state}; {model['needs']}; install it with: {model['command']}"
