"""The keys of a LoRA file: which layer of which network each changes, in the styles that are in use. Imports no torch.

| written by | a key |
|---|---|
| kohya, LyCORIS | `lora_unet_down_blocks_0_…_to_q.lora_down.weight`, with `lora_te1_…` and a key `….alpha` for each layer |
| diffusers, a pipeline | `unet.down_blocks.0.….to_q.lora_A.weight`, `text_encoder.…`; once `….processor.to_q_lora.down.weight` |
| diffusers, a bare U-Net | `down_blocks.0.….to_q.lora_A.weight` |
| peft | `base_model.model.down_blocks.0.….to_q.lora_A.weight`, and `adapter_config.json` beside it |
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from threefusion.guidance.prior.files import ModelError, safetensors_header

DENOISERS = ("unet", "transformer")
"""Folders of the network that predicts the noise."""
_ROLES = {
    ".lora_A.weight": "down", ".lora_B.weight": "up", ".lora_down.weight": "down", ".lora_up.weight": "up",
    ".lora.down.weight": "down", ".lora.up.weight": "up", ".lora_linear_layer.down.weight": "down",
    ".lora_linear_layer.up.weight": "up", "_lora.down.weight": "down", "_lora.up.weight": "up", ".alpha": "alpha",
}  # fmt: skip
_FLAT = {"lora_unet_": "unet", "lora_te_": "text_encoder", "lora_te1_": "text_encoder", "lora_te2_": "text_encoder_2"}
"""Prefixes of names that have underscores in place of dots."""
_DOTTED = ("unet", "transformer", "text_encoder", "text_encoder_2", "text_encoder_3")
_PEFT = "base_model.model."
_OTHERS = {"dora_scale": "DoRA", "lora_magnitude": "DoRA", "hada_": "LoHa", "lokr_": "LoKr", "lora_mid": "CP-decomposed LoRA"}
_METADATA = "lora_adapter_metadata"
"""The entry of the header in which diffusers keeps the settings of peft."""
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq")
"""Initialisations of peft after which the file belongs to base weights that were changed too."""


@dataclass(frozen=True)
class Layer:
    """A layer that a LoRA changes."""

    part: str
    """Folder of its network; `denoiser` where the file does not say."""
    name: str
    flat: bool
    """Its name has underscores in place of dots."""
    rank: int
    alpha: float | None
    """By the settings of the file; None if they have none."""
    keys: dict[str, str]
    """The keys of the file that belong to it, by role: `down`, `up`, and `alpha` if there is one."""


def read_layers(file: Path) -> list[Layer]:
    """The layers that a LoRA file changes, in alphabetical order.

    Raises:
        ModelError: the file cannot be read, is no LoRA, or is one of a kind that is not supported.
    """
    header = safetensors_header(file)
    metadata = header.pop("__metadata__", None) or {}
    found: dict[tuple[str, str, bool], dict[str, str]] = {}
    for key in header:
        layer, role = _parse(file, key)
        found.setdefault(layer, {})[role] = key
    if not found:
        raise ModelError(f"{file}: holds no weights")
    for (_, name, _), keys in found.items():
        if missing := {"down", "up"} - keys.keys():
            raise ModelError(f"{file}: {next(iter(keys.values()))} has no {missing.pop()} weight beside it ({name})")
    settings, layers = _settings(file, metadata, found), []
    for (part, name, flat), keys in sorted(found.items()):
        if not (rank := (header[keys["down"]]["shape"] or [0])[0]):
            raise ModelError(f"{file}: {keys['down']} is empty")
        layers.append(Layer(part, name, flat, rank, _alpha(file, settings, part, name, rank), keys))
    return layers


def _parse(file: Path, key: str) -> tuple[tuple[str, str, bool], str]:
    """Part and name of the layer that a key belongs to, whether the name is flat, and the key's role."""
    if kind := next((kind for piece, kind in _OTHERS.items() if piece in key), None):
        raise ModelError(f"{file}: {key} belongs to a {kind}, which is not supported: expected a LoRA")
    suffix = next((suffix for suffix in _ROLES if key.endswith(suffix)), None)
    if suffix is None:
        raise ModelError(f"{file}: {key} is no weight of a LoRA")
    name, role = key.removesuffix(suffix), _ROLES[suffix]
    if prefix := next((prefix for prefix in _FLAT if name.startswith(prefix)), None):
        return (_FLAT[prefix], name.removeprefix(prefix), True), role
    part = next((part for part in _DOTTED if name.startswith(f"{part}.")), "denoiser")
    name = name.removeprefix(f"{part}.").removeprefix(_PEFT).replace(".processor.", ".")
    if suffix.startswith("_lora"):
        name = _of_processor(name)
    return (part, name, False), role


def _of_processor(name: str) -> str:
    """The layer that an attention processor of older diffusers changes."""
    if name.endswith("to_out"):
        return re.sub("to_out$", "out_proj" if "self_attn" in name else "to_out.0", name)
    return re.sub("to_([qkv])$", r"\1_proj", name) if "self_attn" in name else name


def _settings(file: Path, metadata: dict[str, str], found: dict[Any, dict[str, str]]) -> dict[str, dict[str, Any]]:
    """The settings of peft by part, from the header or the file beside; none if there are none."""
    if any(key.startswith(_PEFT) for keys in found.values() for key in keys.values()):
        beside = file.with_name("adapter_config.json")
        if not beside.is_file():
            raise ModelError(f"{file}: needs adapter_config.json beside it, which has the alpha of a LoRA saved by peft")
        text = beside.read_text(encoding="utf-8")
    else:
        beside, text = file, metadata.get(_METADATA, "{}")
    try:
        flat = json.loads(text)
        pairs = [(key.rpartition(".") if "." in key else ("denoiser", "", key), value) for key, value in flat.items()]
    except (ValueError, AttributeError) as error:
        raise ModelError(f"{beside}: the settings of the LoRA cannot be read ({error})") from error
    settings: dict[str, dict[str, Any]] = {}
    for (part, _, field), value in pairs:
        settings.setdefault(part, {})[field] = value
    for values in settings.values():
        _check(beside, values)
    return settings


def _check(file: Path, settings: dict[str, Any]) -> None:
    """Refuse settings of peft that mean more than a low-rank sum."""
    if settings.get("use_dora"):
        raise ModelError(f"{file}: use_dora is true: DoRA is not supported, expected a LoRA")
    start = settings.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(_CHANGES_BASE):
        raise ModelError(f"{file}: init_lora_weights is {start!r}: the LoRA belongs to base weights that it changed too")


def _alpha(file: Path, settings: dict[str, dict[str, Any]], part: str, name: str, rank: int) -> float | None:
    """The alpha that settings of peft give a layer, such that its strength is alpha / rank."""
    own = settings.get(part)
    if not own or "lora_alpha" not in own:
        return None
    # peft: the first pattern that the end of the name matches
    patterns = own.get("alpha_pattern") or {}
    alpha = next((value for pattern, value in patterns.items() if re.match(rf"(.*\.)?({pattern})$", name)), own["lora_alpha"])
    if not isinstance(alpha, int | float):
        raise ModelError(f"{file}: the alpha of {name} is no number")
    return alpha * rank**0.5 if own.get("use_rslora") else float(alpha)
