"""A whole run, read by `load_config`. Nothing here loads torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar

from threefusion.config.catalogue import Catalogue, plugin_folders
from threefusion.config.document import COMMAND_LINE, Entries, Node, Place, find_config, got, read_layers
from threefusion.config.fields import Settings, bounded, check_folder_name, key_of, slot, slots
from threefusion.config.overrides import apply_overrides, find
from threefusion.config.resolve import read
from threefusion.config.sections import FacingConfig, OpsConfig, OutputConfig, TrainerConfig
from threefusion.config.source import SOURCE, refuse_missing_source, refuse_nothing_to_edit, source_of
from threefusion.config.stages import LAID_OVER, StageConfig, refuse_max_steps, stage_layers, stage_seed, without
from threefusion.config.tree import Tree
from threefusion.config.values import escaped
from threefusion.errors import ConfigError, collected
from threefusion.registry import entry_of, meets


@dataclass(frozen=True)
class RunConfig(Settings):
    """A whole run, checked."""

    elsewhere: ClassVar[dict[str, str]] = {"extends": "only a file can extend others"}

    prompt: Settings = slot("prompt", "interpolated")
    camera: Settings = slot("camera", "orbital")
    geometry: Settings = slot("geometry", "density-field")
    material: Settings = slot("material", "diffuse")
    background: Settings = slot("background", "solid")
    renderer: Settings = slot("renderer", "volume")
    optimizer: Settings = slot("optimizer", "adam")
    logger: Settings = slot("logger", "csv")
    viewer: Settings | None = slot("viewer", None)
    """A page on which the run can be watched and steered while it trains."""
    guidance: dict[str, Any] = slots("guidance", "sds", needed=True)
    """Objectives by name; the short form `guidance: {type: sds, …}` is one called `guidance`."""
    exporters: dict[str, Settings] = slots("exporter", "mesh")
    """One, called `exporter`, or several by name; empty when nothing is to be exported, as for an image."""
    losses: dict[str, Settings] = slots("loss", None)
    """By name, in the order written."""
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    output: OutputConfig = field(default_factory=OutputConfig)
    ops: OpsConfig = field(default_factory=OpsConfig)
    facing: FacingConfig = field(default_factory=FacingConfig)
    stages: tuple[RunConfig, ...] = field(default=(), metadata={"derived": True})
    """Each a run of its own, its name that of the stage; empty for a run in one go."""
    seed: int = bounded(0, 0, 2**63 - 1)
    """All random numbers of a run follow from it."""
    name: str = ""
    """Runs are filed under runs/<name>."""
    plugins: tuple[str, ...] = ()
    """Folders of the plugins among the components, so that the run can be opened from anywhere."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_folder_name("name", self.name or "unset")

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


_kinds = {key_of(field): field.metadata for field in fields(RunConfig) if field.metadata.get("default")}
PARTS = {key: about["default"] for key, about in _kinds.items() if "named" not in about}
"""Top-level keys that name one component, with the default type."""
NAMED = {key: about["default"] for key, about in _kinds.items() if "named" in about}
"""Top-level keys that hold one component, with the default type, or several of them by name."""
SECTIONS: dict[str, type] = {"trainer": TrainerConfig, "output": OutputConfig, "ops": OpsConfig, "facing": FacingConfig}


def load_config(path: Path, overrides: list[str], started: bool = False) -> RunConfig:
    """The config in a YAML file and those that it extends, with overrides, checked as a whole.

    Overrides are `key=value`, `+key=value` for a new entry, and `~key` to drop an entry. What a run that has `started` was begun
    from need not exist any more: its checkpoints hold it.

    Raises:
        ConfigError: in one line, what is wrong where, what was expected, and the nearest valid name; with all other errors.
    """
    path, errors = find_config(path), []
    layers, file = read_layers(path), Place(str(path))
    files, folders, stages, parts, config = list(layers), [], [], [], None
    added = apply_overrides(overrides, layers, errors)
    with collected(errors):
        folders += _listed_folders(layers)
    with collected(errors):
        stages += stage_layers(layers)
    tree = Tree(Catalogue((*plugin_folders(path), *folders)))
    base = [{"name": Node("", file, escaped(path.stem))}, *without(layers, "stages", "plugins")]
    with collected(errors):
        config = _read(tree, base, file, () if stages else ("renderer", "exporter"))
    if config and not stages:
        with collected(errors):
            refuse_missing_source(config.geometry, None, tree, started)
            refuse_nothing_to_edit(config, None, tree)
    for index, stage in enumerate(stages):
        wrong: list[ConfigError] = []
        with collected(wrong, f"stages[{index}]."):
            part, of_part = _stage(tree, base, stage, index, is_last=index == len(stages) - 1)
            if len(parts) == index:  # no stage before it is wrong
                refuse_missing_source(part.geometry, parts[-1].geometry if parts else None, of_part, started)
                refuse_nothing_to_edit(part, parts[-1] if parts else None, of_part)
            parts.append(part)
        errors += [error for error in wrong if not any(error.problem.endswith(f".{known.problem}") for known in errors)]
    with collected(errors):
        _check_added(added, tree, files)
        if stages:
            refuse_max_steps(layers)
    if errors:
        raise ConfigError.of(errors)
    return _with_stages(config, parts) if parts else config


def _check_added(added: list[tuple[str, ...]], tree: Tree, files: list[Entries]) -> None:
    """Refuse `+key=value` for a field that has a default.

    Raises:
        ConfigError: the first such override.
    """
    for keys in added:
        new = [keys[:count] for count in range(2, len(keys) + 1)]
        if not any(".".join(part) not in tree.owners and not any(find(file, part) for file in files) for part in new):
            raise ConfigError(f"+{'.'.join(keys)}: exists already; write it without +", Place(COMMAND_LINE))


def _listed_folders(layers: list[Entries]) -> Iterator[Path]:
    """The folders under `plugins`; a relative one starts where the file lies that names it."""
    for node in [entries["plugins"] for entries in layers if "plugins" in entries]:
        if not isinstance(node.value, list) or not all(item.text for item in node.value):
            raise ConfigError(f"plugins: expected a list of folders, got {got(node.value)}", node.place)
        for item in node.value:
            folder = node.place.located(item.text)
            if not folder.is_dir():
                raise ConfigError(f"plugins: {item.text!r} is not a directory", node.place)
            yield folder.resolve()


def _stage(of_run: Tree, base: list[Entries], layers: list[Entries], index: int, is_last: bool) -> tuple[RunConfig, Tree]:
    """Stage `index` as a run, and where its values were written: what it sets is laid over the run's own parts.

    The source that the run itself names is that of the first stage alone.

    Raises:
        ConfigError: as `load_config`, with paths from the top of the stage.
    """
    file, catalogue, errors = base[0]["name"].place, of_run.catalogue, []
    where = next((node.place for entries in layers for node in entries.values()), file)
    with collected(errors):
        stage = read(Tree(catalogue), StageConfig, without(layers, *LAID_OVER), "key of a stage", where, LAID_OVER)
    with collected(errors):
        own = [{key: entries[key] for key in LAID_OVER if key in entries} for entries in layers]
        tree = Tree(catalogue)
        run = _read(tree, base + own, file, ("renderer", "exporter") if is_last else ("renderer",))
    if errors:
        raise ConfigError.of(errors)
    if index and tree.places.get(SOURCE) == of_run.places.get(SOURCE):
        run = _started_by_stage_before(run)
    trainer = replace(run.trainer, max_steps=stage.steps)
    return replace(run, name=stage.name or f"stage-{index + 1}", seed=stage_seed(run.seed, index), trainer=trainer), tree


def _started_by_stage_before(run: RunConfig) -> RunConfig:
    """Without a source of its own."""
    return replace(run, geometry=replace(run.geometry, init_from="")) if source_of(run.geometry) else run


def _with_stages(run: RunConfig, stages: list[RunConfig]) -> RunConfig:
    run = _started_by_stage_before(run)
    steps = sum(stage.trainer.max_steps for stage in stages)
    plugins = sorted({folder for stage in stages for folder in (*run.plugins, *stage.plugins)})
    return replace(run, stages=tuple(stages), plugins=tuple(plugins), trainer=replace(run.trainer, max_steps=steps))


def _read(tree: Tree, layers: list[Entries], where: Place, checked: tuple[str, ...]) -> RunConfig:
    """The run, or the stage, that the layers describe; its parts `checked` must be able to work with the geometry.

    Raises:
        ConfigError: the first error, with the others.
    """
    run: RunConfig = read(tree, RunConfig, layers, "key of a run", where, ("extends",))
    users = {"exporter" if "exporter" in tree.classes else f"exporter.{name}": run.exporters[name] for name in run.exporters}
    for path, settings in {**dict(_nested("renderer", run.renderer)), **users}.items():
        if path.partition(".")[0] in checked:
            with collected(tree.errors):
                _check_capabilities(run, tree, path, settings)
    if "renderer" in checked:
        with collected(tree.errors):
            _check_capabilities(run, tree, "camera", run.camera)
        for name in run.losses:
            with collected(tree.errors):
                _check_loss(run, tree, name)
        for name, objective in run.guidance.items():
            for path, settings in _parts("guidance" if "guidance" in tree.classes else f"guidance.{name}", objective):
                with collected(tree.errors):
                    _check_prompt(run, tree, path, settings)
    for name in run.losses.keys() & run.guidance.keys():
        problem = f"loss.{name}: a guidance has that name too; their metrics need different ones"
        tree.errors.append(ConfigError(problem, tree.places[f"loss.{name}"]))
    if tree.errors:
        with collected(tree.errors):
            refuse_missing_source(run.geometry, run.geometry, tree, started=False)
        raise ConfigError.of(tree.errors)
    return replace(run, plugins=tuple(sorted(map(str, tree.catalogue.folders_of(tree.entries)))))


def _check_capabilities(run: RunConfig, tree: Tree, path: str, settings: Settings) -> None:
    """Refuse a renderer or an exporter that needs what the geometry does not give.

    Raises:
        ConfigError: it names what fits.
    """
    geometry, entry = entry_of(run.geometry), entry_of(settings)
    if meets(entry.needs, geometry.gives):
        return
    others, found = tree.catalogue.entries(), tree.places.get(path, tree.places[path.partition(".")[0]])
    needs = " and ".join(" or ".join(need.rsplit("|", 1)).replace("|", ", ") for need in entry.needs)
    gives = ", ".join(geometry.gives) or "nothing"
    fitting = [e.name for e in others if e.kind == entry.kind and meets(e.needs, geometry.gives)]
    geometries = [e.name for e in others if e.kind == "geometry" and meets(entry.needs, e.gives)]
    fitting += ["null"] if entry.kind == "exporter" else []
    raise ConfigError(
        f"{path}: the {entry.kind} {entry.name!r} needs a geometry that gives {needs}, and {geometry.name!r} gives {gives}. "
        f"Use the {entry.kind} {_either(fitting)}, or the geometry {_either(geometries)}",
        found if found.line or found.file == COMMAND_LINE else tree.places["geometry"],
    )


def _check_loss(run: RunConfig, tree: Tree, name: str) -> None:
    """Refuse a loss that needs what neither the renderer nor the geometry gives; of renderers that declare nothing, none.

    Raises:
        ConfigError: it names what fits.
    """
    loss, geometry = entry_of(run.losses[name]), entry_of(run.geometry)
    renderers = [entry_of(settings) for _, settings in _nested("renderer", run.renderer)]
    rendered = [given for entry in renderers for given in entry.gives]
    lacking = [need for need in loss.needs if not meets([need], [*rendered, *geometry.gives])]
    if not lacking or not rendered or not any(value for _, value in run.losses[name].weight.knots):
        return
    fitting = [e for e in tree.catalogue.entries() if e.kind in ("renderer", "geometry") and meets(lacking[:1], e.gives)]
    kind = fitting[0].kind if fitting else "renderer"
    user, gives = (geometry.name, geometry.gives) if kind == "geometry" else (renderers[-1].name, rendered)
    raise ConfigError(
        f"loss.{name}: the loss {loss.name!r} needs a {kind} that gives {lacking[0]}, and {user!r} gives {', '.join(gives)}. "
        f"Use the {kind} {_either([e.name for e in fitting])}, or leave it out with loss.{name}=null",
        tree.places[f"loss.{name}"],
    )


def _check_prompt(run: RunConfig, tree: Tree, path: str, settings: Settings) -> None:
    """Refuse a part of an objective that needs what the prompt does not give.

    Raises:
        ConfigError: it names what fits.
    """
    prompt, part = entry_of(run.prompt), entry_of(settings)
    if meets(part.needs, prompt.gives):
        return
    fitting = [e.name for e in tree.catalogue.entries() if e.kind == "prompt" and meets(part.needs, e.gives)]
    raise ConfigError(
        f"{path}: the {part.kind} {part.name!r} needs a prompt that gives {' and '.join(part.needs)}, and {prompt.name!r} gives "
        f"{', '.join(prompt.gives) or 'nothing'}. Use the prompt {_either(fitting)}, or another {part.kind}",
        tree.places[path],
    )


def _parts(path: str, settings: Settings) -> Iterator[tuple[str, Settings]]:
    """A component and all components in it, by path."""
    yield path, settings
    for inner in fields(settings):
        if "kind" in inner.metadata and isinstance(value := getattr(settings, inner.name), Settings):
            yield from _parts(f"{path}.{inner.name}", value)


def _nested(path: str, settings: Settings) -> Iterator[tuple[str, Settings]]:
    """A component and those of its kind in it, by path."""
    return (part for part in _parts(path, settings) if entry_of(part[1]).kind == path.partition(".")[0])


def _either(names: list[str]) -> str:
    *first, last = names or ["(none fits)"]
    return f"{', '.join(first)} or {last}" if first else last
