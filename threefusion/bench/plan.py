"""Loads the YAML of a benchmark as a checked plan: its runs and the config of each. Loads no torch."""

from __future__ import annotations

import os
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path

from threefusion.bench.variants import command_line, is_folder_name, read_variants, refuse_grid_keys, run_config
from threefusion.config import ConfigError, RunConfig, Settings, bounded, literal, slot
from threefusion.config.catalogue import Catalogue, plugin_folders
from threefusion.config.document import Entries, Node, Place, find_config, read_file
from threefusion.config.resolve import read
from threefusion.config.sections import CsvConfig, WandbConfig
from threefusion.config.tree import Tree
from threefusion.errors import UserError, did_you_mean, nearest
from threefusion.evaluate.keys import SECTIONS

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
class EvaluationOptions(Settings):
    """How finished cells are evaluated: options of `eval`."""

    views: int | None = bounded(None, 4, 120)
    """Views of pictures; null is what `eval` takes by itself."""
    clip: Path | None = None
    """Folder of a CLIP model that judges; null is the bundled judge."""
    candidates: Path | None = None
    """A file of captions, one per line, among which a prompt must be found."""

    def __post_init__(self) -> None:
        super().__post_init__()
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
    logger: Settings
    """Where the table goes beside the files."""
    cells: tuple[Cell, ...]
    """In the order of the table: by variant, prompt, seed."""
    warnings: tuple[str, ...]
    """What may disappoint but does not stop anything."""

    def in_running_order(self) -> list[Cell]:
        """The cells so that a table of the first few compares all variants: by seed, prompt, variant."""
        place = {name: index for index, name in enumerate((*self.variants, *self.prompts))}
        return sorted(self.cells, key=lambda cell: (self.seeds.index(cell.seed), place[cell.prompt], place[cell.variant]))


@dataclass(frozen=True)
class Benchmark(Settings):
    """The keys of a benchmark that hold for all of its runs."""

    name: str = ""
    prompts: list[str] = literal(MISSING)
    seeds: list[int] = bounded([0], 0, 2**63 - 1)
    threads: int = bounded(2, 1, 4096)
    columns: list[str] = literal([])
    baseline: str | None = None
    logger: Settings = slot("logger", "csv")
    evaluation: EvaluationOptions = field(default_factory=EvaluationOptions)


RUN_KEYS = ("config", "overrides", "variants")
"""Keys that say what the runs are; `variants` reads them."""


def load_plan(path: Path, overrides: list[str], anyway: bool = False) -> Plan:
    """The plan in a YAML file; `key=value` overrides hold for every run.

    Every variant's config is checked with every prompt; `anyway` lets prompts pass whose words the prior does not know.

    Raises:
        ConfigError: in one line, what is wrong where, what was expected, and the nearest valid name.
    """
    path = find_config(path)
    document = read_file(path).value
    if not document:
        raise ConfigError("an empty file: expected a benchmark, see configs/bench/quick.yaml", Place(str(path), 1))
    known = [*(key.name for key in fields(Benchmark)), *RUN_KEYS]
    for key, node in document.items():
        if key not in known:
            raise ConfigError(f"{key}: unknown key of a benchmark{nearest(key, known)}", node.place)
    refuse_grid_keys(command_line(overrides), "overrides")
    variants = read_variants(document)
    own = {key: entry for key, entry in document.items() if key not in RUN_KEYS}
    tree = Tree(Catalogue(plugin_folders(path)))
    benchmark: Benchmark = read(tree, Benchmark, [own], "key of a benchmark", Place(str(path), 1))
    _check(benchmark, document, tuple(variant.name for variant in variants))
    if not benchmark.name and path.stem.startswith("."):
        raise ConfigError("name: needed, because the file's name begins with a dot", next(iter(document.values())).place)
    cells, warnings = [], {}
    for variant in variants:
        for prompt, where in zip(benchmark.prompts, _items(document, "prompts"), strict=True):
            config = run_config(variant, Node(prompt, where, prompt), overrides)
            warnings |= dict.fromkeys(_warnings(config, anyway, where))
            cells += [Cell(variant.name, prompt, seed, config.with_seed(seed)) for seed in benchmark.seeds]
    return Plan(
        name=benchmark.name or path.stem,
        variants=tuple(variant.name for variant in variants),
        prompts=tuple(benchmark.prompts),
        seeds=tuple(benchmark.seeds),
        threads=benchmark.threads,
        evaluation=benchmark.evaluation,
        columns=tuple(benchmark.columns),
        baseline=benchmark.baseline,
        logger=benchmark.logger,
        cells=tuple(cells),
        warnings=tuple(warnings),
    )


def _items(document: Entries, key: str) -> list[Place]:
    """Where each item of a list was written; nothing for a list that is left out."""
    return [item.place for item in document[key].value] if key in document else []


def _check(benchmark: Benchmark, document: Entries, variants: tuple[str, ...]) -> None:
    """What types and ranges cannot say.

    Raises:
        ConfigError: the first error.
    """
    if benchmark.name and not is_folder_name(benchmark.name):
        problem = f"name: expected letters, digits, '-', '_' or '.', got {benchmark.name!r}"
        raise ConfigError(problem, document["name"].place)
    for key in ("prompts", "seeds"):
        values = getattr(benchmark, key)
        if not values:
            raise ConfigError(f"{key}: expected at least one", document[key].place)
        for index, value in enumerate(values):
            if value in values[:index]:
                raise ConfigError(f"{key}[{index}]: {value!r} is given twice", _items(document, key)[index])
    known = [f"{section}.{key}" for section, keys in SECTIONS.items() for key in keys] + [ATTEMPTS]
    for column, (index, where) in zip(benchmark.columns, enumerate(_items(document, "columns")), strict=True):
        if column not in known:
            hint = did_you_mean(column, known) or ". docs/evaluation.md lists them"
            raise ConfigError(f"columns[{index}]: no evaluation has {column!r}{hint}", where)
    if benchmark.baseline is not None and benchmark.baseline not in variants:
        problem = f"baseline: unknown variant {benchmark.baseline!r}{nearest(benchmark.baseline, variants)}"
        raise ConfigError(problem, document["baseline"].place)
    if not isinstance(benchmark.logger, CsvConfig | WandbConfig):
        raise ConfigError("logger: expected csv or wandb", document["logger"].place)


def _warnings(config: RunConfig, anyway: bool, where: Place) -> list[str]:
    """`prompt_warnings`.

    Raises:
        ConfigError: the prior knows no object of the prompt, or its vocabulary cannot be read.
    """
    from threefusion.guidance.prior.vocabulary import prompt_warnings

    try:
        return prompt_warnings(config, anyway)
    except UserError as error:
        raise ConfigError(f"prompts: {error}", where) from error
