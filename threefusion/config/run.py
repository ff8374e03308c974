"""A whole run, read by `load_config`. Nothing here loads torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from threefusion.config.catalogue import Catalogue, plugin_folders
from threefusion.config.document import (
    COMMAND_LINE,
    ESCAPED_KEY,
    Entries,
    Place,
    apply_overrides,
    find,
    read_layers,
)
from threefusion.config.document import plain as plain_node
from threefusion.config.fields import Settings, bounded
from threefusion.config.named import named_entries
from threefusion.config.resolve import instance, resolved
from threefusion.config.sections import SET_BY_THE_RUN, FacingConfig, OpsConfig, OutputConfig, TrainerConfig
from threefusion.config.stages import LAID_OVER, STAGE_KEYS, StageConfig, refuse_max_steps, stage_layers, stage_seed, without
from threefusion.config.tree import Tree, mappings
from threefusion.config.values import escaped, got
from threefusion.errors import ConfigError, nearest
from threefusion.registry import entry_of

if TYPE_CHECKING:
    from threefusion.guidance.settings import GuidanceConfig

PARTS: dict[str, str] = {
    "prompt": "interpolated",
    "camera": "orbital",
    "geometry": "density-field",
    "material": "diffuse",
    "background": "solid",
    "renderer": "volume",
    "optimizer": "adam",
    "logger": "csv",
}
"""Top-level keys that name one component, with the default type."""
NAMED: dict[str, str] = {"guidance": "sds", "exporter": "mesh"}
"""Top-level keys that hold one component, with the default type, or several of them by name."""
SECTIONS: dict[str, type] = {"trainer": TrainerConfig, "output": OutputConfig, "ops": OpsConfig, "facing": FacingConfig}
KEYS = [*PARTS, *NAMED, "loss", *SECTIONS, "stages", "seed", "name", "plugins", "extends"]


@dataclass(frozen=True)
class RunConfig:
    """A whole run: the settings of every part, checked."""

    seed: int
    """All random numbers of a run follow from it."""
    name: str
    """Runs are filed under runs/<name>."""
    prompt: Settings
    camera: Settings
    geometry: Settings
    material: Settings
    background: Settings
    renderer: Settings
    guidance: dict[str, GuidanceConfig]
    """Objectives by name; the short form `guidance: {type: sds, …}` is one called `guidance`."""
    losses: dict[str, Settings]
    """`loss` in YAML: by name, in the order written."""
    optimizer: Settings
    exporters: dict[str, Settings]
    """`exporter` in YAML: one, called `exporter`, or several by name; empty when nothing is to be exported, as for an image."""
    logger: Settings
    trainer: TrainerConfig
    output: OutputConfig
    ops: OpsConfig
    facing: FacingConfig
    plugins: tuple[str, ...]
    """Folders of the plugins among the components, so that the run can be opened from anywhere."""
    stages: tuple[RunConfig, ...] = ()
    """Each a run of its own, its name that of the stage; empty for a run in one go."""

    @property
    def parts(self) -> tuple[RunConfig, ...]:
        """What is trained one after the other: the stages, or the run itself."""
        return self.stages or (self,)

    def with_seed(self, seed: int) -> RunConfig:
        """The same run with other random numbers."""
        stages = tuple(replace(stage, seed=stage_seed(seed, index)) for index, stage in enumerate(self.stages))
        return replace(self, seed=seed, stages=stages)

    @property
    def text(self) -> str:
        """The prompt, empty where the prompt component has no text."""
        return getattr(self.prompt, "text", "")


@dataclass(frozen=True)
class General(Settings):
    """Top-level values."""

    seed: int = bounded(0, 0, 2**63 - 1)
    name: str = ""


def load_config(path: Path, overrides: list[str]) -> RunConfig:
    """The config in a YAML file and those that it extends, with overrides, checked as a whole.

    Overrides are `key=value`, `+key=value` for a new entry, and `~key` to drop an entry.

    Raises:
        ConfigError: in one line, what is wrong where, what was expected, and the nearest valid name.
    """
    layers = read_layers(path)
    files = list(layers)
    added = apply_overrides(overrides, layers)
    _check_keys(layers)
    tree = Tree(Catalogue((*plugin_folders(path), *_listed_folders(layers))))
    base, stages = without(layers, "stages"), stage_layers(layers)
    config = _assembled(tree, base, path, () if stages else ("renderer", "exporter"))
    if stages:
        refuse_max_steps(layers)
        config = _with_stages(config, [_stage(tree.catalogue, base, stages, index, path) for index in range(len(stages))])
    for keys in added:
        new = [keys[:count] for count in range(2, len(keys) + 1)]
        if not any(".".join(part) not in tree.fields and not any(find(file, part) for file in files) for part in new):
            raise ConfigError(f"+{'.'.join(keys)}: exists already; write it without +", Place(COMMAND_LINE))
    return config


def _check_keys(layers: list[Entries]) -> None:
    """Refuse keys that no run has, and arguments of the trainer that the run decides.

    Raises:
        ConfigError: with the nearest key, or what to use instead.
    """
    for entries in layers:
        for name, (place, node) in entries.items():
            if name == "extends" or name not in (*KEYS, ESCAPED_KEY):
                problem = "only a file can extend others" if name == "extends" else f"unknown key of a run{nearest(name, KEYS)}"
                raise ConfigError(f"{name}: {problem}", place)
            for argument in (
                SET_BY_THE_RUN.keys() & node.value.keys() if name == "trainer" and isinstance(node.value, dict) else ()
            ):
                raise ConfigError(f"trainer.{argument}: set by the run: {SET_BY_THE_RUN[argument]}", node.value[argument][0])


def _listed_folders(layers: list[Entries]) -> Iterator[Path]:
    """The folders under `plugins`; a relative one starts where the file lies that names it."""
    for place, node in [entries["plugins"] for entries in layers if "plugins" in entries]:
        if not isinstance(node.value, list) or not all(item.text for item in node.value):
            raise ConfigError(f"plugins: expected a list of folders, got {got(plain_node(node))}", place)
        for item in node.value:
            folder = Path(item.text).expanduser()
            folder = folder if place.file == COMMAND_LINE else Path(place.file).parent / folder
            if not folder.is_dir():
                raise ConfigError(f"plugins: {item.text!r} is not a directory", place)
            yield folder.resolve()


def _stage(catalogue: Catalogue, base: list[Entries], stages: list[list[Entries]], index: int, path: Path) -> RunConfig:
    """Stage `index` as a run: what it sets is laid over the run's own parts.

    Raises:
        ConfigError: as `load_config`, with the path from the top of the config.
    """
    layers, tree = stages[index], Tree(catalogue)
    where = next((place for entries in layers for place, _ in entries.values()), Place(str(path)))
    try:
        for name, (place, _) in (pair for entries in layers for pair in entries.items()):
            if name not in STAGE_KEYS:
                raise ConfigError(f"{name}: unknown key of a stage{nearest(name, STAGE_KEYS)}", place)
        about = tree.section(StageConfig, without(layers, *LAID_OVER), "", "a stage", where)
        stage: StageConfig = instance(tree, resolved(tree, StageConfig, dict(vars(about))), "")
        checked = ("renderer", "exporter") if index == len(stages) - 1 else ("renderer",)
        run = _assembled(Tree(catalogue), base + without(layers, "name", "steps"), path, checked)
    except ConfigError as error:
        raise ConfigError(f"stages[{index}].{error.problem}", error.place) from error
    trainer = replace(run.trainer, max_steps=stage.steps)
    return replace(run, name=stage.name or f"stage-{index + 1}", seed=stage_seed(run.seed, index), trainer=trainer)


def _with_stages(run: RunConfig, stages: list[RunConfig]) -> RunConfig:
    steps = sum(stage.trainer.max_steps for stage in stages)
    plugins = sorted({folder for stage in stages for folder in (*run.plugins, *stage.plugins)})
    return replace(run, stages=tuple(stages), plugins=tuple(plugins), trainer=replace(run.trainer, max_steps=steps))


def _assembled(tree: Tree, layers: list[Entries], path: Path, checked: tuple[str, ...]) -> RunConfig:
    """The run that the layers describe: first all of it unresolved, for interpolation between its parts, then the dataclasses.

    The parts `checked` must be able to work with the geometry.
    """
    file = Place(str(path))
    top = [{name: entries[name] for name in ("seed", "name") if name in entries} for entries in layers]
    root: dict[str, Any] = dict(vars(tree.section(General, top, "", "a run", file)))
    root["name"] = root["name"] if any("name" in entries for entries in layers) else escaped(path.stem)
    for key, default in (PARTS | NAMED | {"loss": None}).items():
        given = [entries[key] for entries in layers if key in entries]
        parts = {key: (key, given, default)} if key in PARTS else named_entries(tree, given, key, default)
        made = {name: tree.component(below, key, preset, inner, file) for name, (inner, below, preset) in parts.items()}
        made = {name: settings for name, settings in made.items() if settings is not None}
        if key not in ("loss", "exporter") and not made:
            raise ConfigError(f"{key}: cannot be null: a run needs one", given[-1][0])
        root[key] = made[key] if key in tree.classes else made
    for name, cls in SECTIONS.items():
        given = [entries[name] for entries in layers if name in entries]
        root[name] = tree.section(cls, mappings(given, name), name, name, file)
    values = resolved(tree, General, root)
    by_path = {key: _by_path(tree, key, values[key]) for key in (*PARTS, *NAMED, "loss")}
    found = {key: {path: instance(tree, inner, path) for path, inner in parts.items()} for key, parts in by_path.items()}
    named = {key: {path.rpartition(".")[2]: settings for path, settings in inner.items()} for key, inner in found.items()}
    run = RunConfig(
        **vars(instance(tree, values, "")),
        **{key: found[key][key] for key in PARTS},
        guidance=named["guidance"],
        losses=named["loss"],
        exporters=named["exporter"],
        **{name: instance(tree, values[name], name) for name in SECTIONS},
        plugins=tuple(sorted(map(str, tree.catalogue.folders_of(tree.entries)))),
    )
    _check_capabilities(run, tree, {path: settings for key in checked for path, settings in found[key].items()})
    return run


def _by_path(tree: Tree, key: str, value: Any) -> dict[str, Any]:
    """The components of a section by their paths: the one it is itself, or those that it names."""
    return {key: value} if key in tree.classes else {f"{key}.{name}": inner for name, inner in value.items()}


def _check_capabilities(run: RunConfig, tree: Tree, users: dict[str, Settings]) -> None:
    """Refuse a renderer or an exporter that needs what the geometry does not give.

    Raises:
        ConfigError: it names what fits.
    """
    geometry = entry_of(run.geometry)
    for path, settings in users.items():
        entry = entry_of(settings)
        if _fits(entry.needs, geometry.gives):
            continue
        others, found = tree.catalogue.entries(), tree.places[path]
        needs, gives = ", ".join(entry.needs).replace("|", " or "), ", ".join(geometry.gives) or "nothing"
        fitting = [e.name for e in others if e.kind == entry.kind and _fits(e.needs, geometry.gives)]
        geometries = [e.name for e in others if e.kind == "geometry" and _fits(entry.needs, e.gives)]
        fitting += ["null"] if entry.kind == "exporter" else []
        raise ConfigError(
            f"{path}: the {entry.kind} {entry.name!r} needs a geometry that gives {needs}, and {geometry.name!r} gives {gives}. "
            f"Use the {entry.kind} {_either(fitting)}, or the geometry {_either(geometries)}",
            found if found.line or found.file == COMMAND_LINE else tree.places["geometry"],
        )


def _fits(needs: Iterable[str], gives: Iterable[str]) -> bool:
    """Whether every need, which may be a choice such as `density|surface`, is met."""
    return all(set(need.split("|")) & set(gives) for need in needs)


def _either(names: list[str]) -> str:
    return " or ".join(names) or "(none fits)"
