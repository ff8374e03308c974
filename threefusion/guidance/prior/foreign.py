"""What a folder or a file is that is no model of the built-in priors, in words for an error message."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SINGLE_FILES = (".safetensors", ".ckpt")
"""Endings of pipelines in one file."""


def describe_folder(folder: Path) -> str:
    """What a folder without the parts of a pipeline is.

    >>> describe_folder(Path("/dev"))[:8]
    'it holds'
    """
    if (folder / "model_index.json").is_file():
        index = _settings(folder / "model_index.json")
        networks = [value[1] for name, value in index.items() if name not in ("scheduler", "vae") and _of_diffusers(value)]
        return f"it is a {index.get('_class_name', 'pipeline')}" + (f" with {' and '.join(networks)}" if networks else "")
    if (folder / "config.json").is_file():
        return f"it is a single {_settings(folder / 'config.json').get('_class_name', 'network')}, not a pipeline"
    names = sorted(path.name for path in folder.iterdir())
    single = next((name for name in names if name.endswith(SINGLE_FILES)), None)
    return f"it holds {', '.join(names[:6]) or 'nothing'}" + (f"; {conversion(folder / single)}" if single else "")


def conversion(file: Path) -> str:
    """How weights in a single file become a folder."""
    if "lora" in file.name.lower():
        return "a LoRA changes another model: merge it with diffusers' fuse_lora(), and save that pipeline"
    code = f"P.from_single_file('{file}').save_pretrained('{file.with_suffix('')}')"
    return f'convert a single file with: python -c "from diffusers import StableDiffusionPipeline as P; {code}"'


def _of_diffusers(value: Any) -> bool:
    return isinstance(value, list) and value[:1] == ["diffusers"] and isinstance(value[-1], str)


def _settings(file: Path) -> dict[str, Any]:
    """A JSON file, empty if it cannot be read."""
    try:
        settings = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return settings if isinstance(settings, dict) else {}
