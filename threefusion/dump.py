"""A checked config back to YAML."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import yaml

from threefusion.check import PARTS
from threefusion.config import Choice, RunConfig
from threefusion.schedule import Schedule


def dump(config: RunConfig) -> str:
    """YAML that loads to an equal config."""
    tree = {
        "name": config.name,
        "seed": config.seed,
        **{kind: plain(getattr(config, kind)) for kind in PARTS},
        "loss": {name: plain(choice) for name, choice in config.losses.items()},
        "trainer": plain(config.trainer),
        "logger": plain(config.logger),
        "output": plain(dataclasses.asdict(config.output)),
        "ops": plain(dataclasses.asdict(config.ops)),
        "facing": plain(dataclasses.asdict(config.facing)),
        **({"plugins": list(config.plugins)} if config.plugins else {}),
    }
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=130, default_flow_style=None)


def plain(value: Any) -> Any:
    """A config value as numbers, text, lists and dictionaries."""
    if isinstance(value, Choice):
        return {"type": value.name, **{name: plain(setting) for name, setting in value.settings}}
    if isinstance(value, Schedule):
        constant = len(value.knots) == 1 and value.knots[0][0] == 0
        return value.knots[0][1] if constant else {"knots": dict(value.knots)}
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in value]
    return str(value) if isinstance(value, Path) else value
