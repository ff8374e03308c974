"""What a folder or a file is that is no model of the built-in priors, in words for an error message."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from threefusion.guidance.prior.files import is_listed
from threefusion.machine.files import read_json

SINGLE_FILES = (".safetensors", ".ckpt")
"""Endings of pipelines in one file."""
PRIORS = {"UNet2DConditionModel": "latent", "SD3Transformer2DModel": "flow", "FluxTransformer2DModel": "flow"}
"""The prior that runs a denoising network, by its class."""


def describe_folder(folder: Path, missing: Sequence[str]) -> str:
    """What a folder is that lacks some parts of a pipeline."""
    lacks = f"has no {missing[0]}/"
    if (folder / "model_index.json").is_file():
        index = read_json(folder / "model_index.json") or {}
        name, networks = index.get("_class_name", "pipeline"), _networks(index)
        if lost := [part for part in missing if is_listed(index, part)]:
            return f"has no {lost[0]}/, which its model_index.json lists: download it again"
        if networks and not (len(networks) == 1 and networks[0] in PRIORS):
            return f"it is a {name} with {' and '.join(networks)}, which is not supported"
        if networks and missing[0] in ("unet", "transformer"):
            prior = PRIORS[networks[0]] if is_listed(index, "vae") else "pixel"
            return f"it is a {name} with {networks[0]}, for the prior `{prior}`"
        return f"{lacks}: it is a {name}" + (" over pixels, for the prior `pixel`" if missing == ["vae"] else "")
    if (folder / "config.json").is_file():
        network = read_json(folder / "config.json") or {}
        return f"it is a single {network.get('_class_name', 'network')}, not a pipeline"
    names = sorted(path.name for path in folder.iterdir())
    single = next((name for name in names if name.endswith(SINGLE_FILES)), None)
    return f"{lacks}: it holds {', '.join(names[:6]) or 'nothing'}" + (
        f"; to use a file of it, name the file: guidance.prior.model={folder / single}" if single else ""
    )


def _networks(index: dict[str, Any]) -> list[str]:
    """The classes of the denoising networks that a model_index.json lists."""
    parts = {name: value for name, value in index.items() if isinstance(value, list) and value[:1] == ["diffusers"]}
    return [str(value[-1]) for name, value in parts.items() if name not in ("scheduler", "vae")]
