"""A benchmark's YAML as a checked plan: which runs there are, and the whole config of each. Loads no torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from threefusion.bench.variants import Text, is_folder_name, read_variants, refuse_grid_keys, run_config
from threefusion.config import LOGGERS, ConfigError, RunConfig, load_config
from threefusion.document import COMMAND_LINE, Mapping, Place, read_file
from threefusion.errors import UserError
from threefusion.evaluate.keys import SECTIONS
from threefusion.fields import check_fields, leaf, resolve, under
from threefusion.suggest import did_you_mean, nearest
from threefusion.values import got

KEYS = ("name", "config", "overrides", "variants", "prompts", "seeds", "threads", "evaluation", "columns", "baseline", "logger")
"""Top-level keys of a benchmark."""
ATTEMPTS = "cost.attempts"
"""The one column that comes from the benchmark itself and not from `eval`: how often a cell was started."""


@dataclass(frozen=True)
class Cell:
    """One run of the benchmark."""

    variant: str
    prompt: str
    seed: int
    config: RunConfig
    """Everything about the run, checked."""

    def __str__(self) -> str:
        return f"{self.variant} · {self.prompt} · seed {self.seed}"


@dataclass(frozen=True)
class EvaluationOptions:
    """How finished cells are looked at: options of `eval`."""

    views: int | None = None
    """Views of pictures; null is what `eval` takes by itself."""
    clip: Path | None = None
    """Folder of a CLIP model that judges; null is the bundled judge."""
    candidates: Path | None = None
    """A file of captions, one per line, among which a prompt must be found."""

    def __post_init__(self) -> None:
        if self.views is not None and not 4 <= self.views <= 120:
            raise ValueError("views: 4 to 120")
        for name, path, is_there in (("clip", self.clip, Path.is_dir), ("candidates", self.candidates, Path.is_file)):
            if path is not None and not is_there(path.expanduser()):
                raise ValueError(f"{name}: {path} is not there; relative paths count from the folder where bench is started")

    def words(self) -> tuple[str, ...]:
        """As arguments of `eval`."""
        given = {name: value for name, value in vars(self).items() if value is not None}
        return tuple(word for name, value in given.items() for word in (f"--{name}", os.path.expanduser(str(value))))


@dataclass(frozen=True)
class Plan:
    """A whole benchmark, checked."""

    name: str
    """Its folder is runs/bench/<name>."""
    variants: tuple[str, ...]
    prompts: tuple[str, ...]
    seeds: tuple[int, ...]
    threads: int
    """Cores that one cell uses."""
    evaluation: EvaluationOptions
    columns: tuple[str, ...]
    """Shown in table.md and index.html and compared between variants; empty for the usual ones. table.csv holds all."""
    baseline: str | None
    """The variant that the others are compared with; None compares all pairs."""
    logger: dict[str, Any]
    """`type` and those of its fields that are not empty: where the table goes beside the files."""
    cells: tuple[Cell, ...]
    """In the order of the table: by variant, prompt, seed."""
    warnings: tuple[str, ...]
    """What may disappoint but does not stop anything."""

    def in_running_order(self) -> list[Cell]:
        """The cells so that a table of the first few compares all variants: by seed, prompt, variant."""
        place = {name: index for index, name in enumerate((*self.variants, *self.prompts))}
        return sorted(self.cells, key=lambda cell: (self.seeds.index(cell.seed), place[cell.prompt], place[cell.variant]))


def check_file(path: Path, overrides: list[str]) -> None:
    """Check a run config or a benchmark, whichever `path` is.

    Raises:
        ConfigError: the first thing that is wrong.
    """
    if path.is_file() and "variants" in read_file(path).entries:
        load_plan(path, overrides, anyway=True)
    else:
        load_config(path, overrides)


def load_plan(path: Path, overrides: list[str], anyway: bool = False) -> Plan:
    """The plan in a YAML file; `key=value` overrides hold for every run.

    Every variant's config is checked with every prompt; `anyway` lets prompts pass whose words the prior does not know.

    Raises:
        ConfigError: in one line, what is wrong where, what was expected, and the nearest valid name.
    """
    document = read_file(path)
    for key in document.entries:
        if key not in KEYS:
            raise ConfigError(f"{key}: no such key of a benchmark{nearest(key, KEYS)}", document.key_place(key))
    refuse_grid_keys([Text(text, Place(COMMAND_LINE)) for text in overrides], "overrides")
    variants = read_variants(document)
    prompts = _distinct(document, "prompts", str)
    seeds = _distinct(document, "seeds", int) if "seeds" in document.entries else [(0, document.place)]
    cells, warnings = [], {}
    for variant in variants:
        for prompt, place in prompts:
            config = run_config(variant, Text(prompt, place), overrides)
            warnings |= {} if anyway else dict.fromkeys(_unknown_words(config, place))
            cells += [Cell(variant.name, prompt, seed, replace(config, seed=seed)) for seed, _ in seeds]
    names = tuple(variant.name for variant in variants)
    return Plan(
        name=_name(document, path),
        variants=names,
        prompts=tuple(prompt for prompt, _ in prompts),
        seeds=tuple(seed for seed, _ in seeds),
        threads=_at_least_one(document, "threads", 2),
        evaluation=_evaluation(document),
        columns=_columns(document),
        baseline=_baseline(document, names),
        logger=_logger(document),
        cells=tuple(cells),
        warnings=tuple(warnings),
    )


def _name(document: Mapping, path: Path) -> str:
    name = leaf(under([document], "name"), str, "name", path.stem)
    if not is_folder_name(name):
        raise ConfigError(f"name: expected letters, digits, '-', '_' or '.', got {name!r}", document.key_place("name"))
    return name


def _at_least_one(document: Mapping, key: str, default: int) -> int:
    value = leaf(under([document], key), int, key, default)
    if value < 1:
        raise ConfigError(f"{key}: at least 1, got {value}", document.key_place(key))
    return value


def _distinct(document: Mapping, key: str, kind: type) -> list[tuple[Any, Place]]:
    """The values of a list that must not be empty, each with its place."""
    node = document.entries.get(key)
    if node is None:
        raise ConfigError(f"{key}: a benchmark needs a list of them", document.place)
    values = leaf([(node, document.key_place(key))], list[kind], key)
    places = [item.place for item in node.items]
    if not values:
        raise ConfigError(f"{key}: at least one", document.key_place(key))
    for index, value in enumerate(values):
        if value in values[:index]:
            raise ConfigError(f"{key}[{index}]: {value!r} is given twice", places[index])
    return list(zip(values, places, strict=True))


def _columns(document: Mapping) -> tuple[str, ...]:
    """The chosen columns, each of which an evaluation has."""
    columns = leaf(under([document], "columns"), list[str], "columns", [])
    known = [f"{section}.{key}" for section, keys in SECTIONS.items() for key in keys] + [ATTEMPTS]
    for index, column in enumerate(columns):
        if column not in known:
            hint = did_you_mean(column, known) or ". docs/evaluation.md lists them"
            place = document.entries["columns"].items[index].place
            raise ConfigError(f"columns[{index}]: no evaluation has {column!r}{hint}", place)
    return tuple(columns)


def _baseline(document: Mapping, variants: tuple[str, ...]) -> str | None:
    name = leaf(under([document], "baseline"), str | None, "baseline")
    if name is not None and name not in variants:
        raise ConfigError(f"baseline: no variant is called {name!r}{nearest(name, variants)}", document.key_place("baseline"))
    return name


def _evaluation(document: Mapping) -> EvaluationOptions:
    node, place = document.entries.get("evaluation", Mapping({}, document.place, {})), document.key_place("evaluation")
    if not isinstance(node, Mapping):
        raise ConfigError(f"evaluation: expected 'option: value' lines, got {got(node)}", place)
    return EvaluationOptions(**check_fields([node], EvaluationOptions, "evaluation", "evaluation", place))


def _logger(document: Mapping) -> dict[str, Any]:
    layers = under([document], "logger")
    named = resolve(layers, "csv", "logger", document.place)
    known = {name: LOGGERS[name] for name in ("csv", "wandb")}
    if named.name not in known:
        raise ConfigError(f"{named.path}: a table goes to no {named.name!r}{nearest(str(named.name), known)}", named.place)
    fields = check_fields(named.mappings, known[named.name], "logger", named.name, named.place)
    return {"type": named.name, **{key: value for key, value in fields.items() if value not in (None, [])}}


def _unknown_words(config: RunConfig, place: Place) -> Iterator[str]:
    """Warnings about words that the prior does not know.

    Raises:
        ConfigError: it knows no object in the prompt.
    """
    from threefusion.guidance.prior.vocabulary import unknown_words

    try:
        yield from unknown_words(config)
    except UserError as error:
        raise ConfigError(f"prompts: {error}", place) from error
