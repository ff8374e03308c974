"""The list `stages` of a config: which layers each stage has. Loads no torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import MISSING, dataclass

from threefusion.config.document import Entries, Node, Place, got
from threefusion.config.fields import Settings, bounded
from threefusion.errors import ConfigError, nearest

LAID_OVER = ("camera", "geometry", "material", "background", "renderer", "guidance", "loss", "optimizer", "facing")
"""Parts of a run that a stage can change."""
MOST_STAGES = 99
SEED_STEP = 1000


@dataclass(frozen=True)
class StageConfig(Settings):
    """What a stage sets beside the parts of the run."""

    name: str = ""
    """Names its folder; stage-1, stage-2, … by default."""
    steps: int = bounded(MISSING, 1, 10**9)
    """Optimiser steps of the stage."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.name and not re.fullmatch(r"[A-Za-z][\w-]{0,99}", self.name, re.ASCII):
            raise ValueError("name: expected letters, digits, - and _, a letter first")


def stage_seed(seed: int, index: int) -> int:
    """The seed of stage `index`: the first has the run's, and no two draw the same views and noise."""
    return (seed + SEED_STEP * index) % 2**63


def stage_index(name: str, names: Sequence[str]) -> int | None:
    """Which of the stages `names` is meant by a name or by a number from 0; None if there is no such stage."""
    if name in names:
        return names.index(name)
    return int(name) if name.isdecimal() and int(name) < len(names) else None


def without(layers: list[Entries], *keys: str) -> list[Entries]:
    """The layers, some of their keys left out."""
    return [{name: entry for name, entry in entries.items() if name not in keys} for entries in layers]


def stage_layers(layers: list[Entries]) -> list[list[Entries]]:
    """For each stage, what is to be laid over the run.

    A list replaces the stages of the layers before it; a mapping changes some of them, by name or by number from 0.

    Raises:
        ConfigError: something else was written, a stage that is changed does not exist, or a name is given twice.
    """
    found: list[list[Entries]] = []
    for node in _written(layers):
        if node.value is None:
            found = []
        elif isinstance(node.value, list):
            if len(node.value) > MOST_STAGES:
                raise ConfigError(f"stages: expected at most {MOST_STAGES}, got {len(node.value)}", node.place)
            found = [[_mapping(item, f"stages[{index}]")] for index, item in enumerate(node.value)]
        elif isinstance(node.value, dict):
            for name, inner in node.value.items():
                found[_index(name, inner.place, found)].append(_mapping(inner, f"stages.{name}"))
        else:
            raise ConfigError(f"stages: expected a list of mappings, got {got(node.value)}", node.place)
    names = [_name(index, stage) for index, stage in enumerate(found)]
    for index, name in enumerate(names):
        if name in names[:index]:
            where = next(iter(found[index][-1].values())).place
            raise ConfigError(f"stages[{index}].name: {name!r} is the name of stages[{names.index(name)}]", where)
    return found


def refuse_max_steps(layers: list[Entries]) -> None:
    """Refuse `trainer.max_steps` beside the list of stages or laid over it; one that is extended counts for nothing.

    Raises:
        ConfigError: it was given.
    """
    first = max(index for index, entries in enumerate(layers) for node in _written([entries]) if isinstance(node.value, list))
    for entries in layers[first:]:
        trainer = entries["trainer"].value if "trainer" in entries else None
        if isinstance(trainer, dict) and "max_steps" in trainer:
            problem = "trainer.max_steps: not together with stages, each of which has its own `steps`"
            raise ConfigError(problem, trainer["max_steps"].place)


def _written(layers: list[Entries]) -> list[Node]:
    """What each layer that has stages gives for them."""
    return [entries["stages"] for entries in layers if "stages" in entries]


def _mapping(node: Node, path: str) -> Entries:
    if not isinstance(node.value, dict):
        raise ConfigError(f"{path}: expected a mapping, got {got(node.value)}", node.place)
    return node.value


def _index(name: str, where: Place, stages: list[list[Entries]]) -> int:
    names = [_name(index, layers) for index, layers in enumerate(stages)]
    index = stage_index(name, names)
    if index is None:
        raise ConfigError(f"stages.{name}: no such stage{nearest(name, names)}", where)
    return index


def _name(index: int, layers: list[Entries]) -> str:
    """The name as written last."""
    written = [entries["name"].text for entries in layers if "name" in entries]
    return next((name for name in reversed(written) if name), f"stage-{index + 1}")
