"""A whole run: `load_config` reads it, `config_to_yaml` writes it. Nothing here loads torch."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from threefusion.config.catalogue import Catalogue, plugin_folders
from threefusion.config.document import (
    COMMAND_LINE,
    ESCAPED_KEY,
    FLOAT,
    Entries,
    Layers,
    Node,
    Place,
    apply_overrides,
    find,
    parsed,
    read_layers,
)
from threefusion.config.document import plain as plain_node
from threefusion.config.fields import Schedule, Settings, bounded
from threefusion.config.resolve import instance, resolved
from threefusion.config.sections import RESERVED, SET_BY_THE_RUN, FacingConfig, OpsConfig, OutputConfig, TrainerConfig
from threefusion.config.tree import Tree, mappings
from threefusion.config.values import escaped, got, plain
from threefusion.errors import ConfigError, nearest
from threefusion.registry import entry_of, is_component

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
KEYS = [*PARTS, *NAMED, "loss", *SECTIONS, "seed", "name", "plugins", "extends"]


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
    for entries in layers:
        for name, (place, node) in entries.items():
            if name == "extends" or name not in (*KEYS, ESCAPED_KEY):
                problem = "only a file can extend others" if name == "extends" else f"unknown key of a run{nearest(name, KEYS)}"
                raise ConfigError(f"{name}: {problem}", place)
            for argument in (
                SET_BY_THE_RUN.keys() & node.value.keys() if name == "trainer" and isinstance(node.value, dict) else ()
            ):
                raise ConfigError(f"trainer.{argument}: set by the run: {SET_BY_THE_RUN[argument]}", node.value[argument][0])
    tree = Tree(Catalogue((*plugin_folders(path), *_listed_folders(layers))))
    config = _assembled(tree, layers, path)
    for keys in added:
        new = [keys[:count] for count in range(2, len(keys) + 1)]
        if not any(".".join(part) not in tree.fields and not any(find(file, part) for file in files) for part in new):
            raise ConfigError(f"+{'.'.join(keys)}: exists already; write it without +", Place(COMMAND_LINE))
    return config


def _listed_folders(layers: list[Entries]) -> Iterator[Path]:
    """The folders under `plugins`; a relative one starts where the file lies that names it."""
    for place, node in [entries["plugins"] for entries in layers if "plugins" in entries]:
        node = parsed(node, "plugins")
        if not isinstance(node.value, list) or not all(item.text for item in node.value):
            raise ConfigError(f"plugins: expected a list of folders, got {got(plain_node(node))}", place)
        for item in node.value:
            folder = Path(item.text).expanduser()
            folder = folder if place.file == COMMAND_LINE else Path(place.file).parent / folder
            if not folder.is_dir():
                raise ConfigError(f"plugins: {item.text!r} is not a directory", place)
            yield folder.resolve()


def _assembled(tree: Tree, layers: list[Entries], path: Path) -> RunConfig:
    """The run that the layers describe: first all of it unresolved, for interpolation between its parts, then the dataclasses."""
    file, paths = Place(str(path)), {}
    top = [{name: entries[name] for name in ("seed", "name") if name in entries} for entries in layers]
    root: dict[str, Any] = dict(vars(tree.section(General, top, "", "a run", file)))
    root["name"] = root["name"] if any("name" in entries for entries in layers) else escaped(path.stem)
    for key, default in (PARTS | NAMED | {"loss": None}).items():
        given = [entries[key] for entries in layers if key in entries]
        parts = {key: (key, given, default)} if key in PARTS else _entries(tree, given, key, default)
        made = {name: tree.component(below, key, preset, inner, file) for name, (inner, below, preset) in parts.items()}
        if key not in ("loss", "exporter") and not any(made.values()):
            raise ConfigError(f"{key}: cannot be null: a run needs one", given[-1][0])
        paths[key] = {name: parts[name][0] for name, settings in made.items() if settings is not None}
        root[key] = made[key] if list(paths[key].values()) == [key] else {name: made[name] for name in paths[key]}
    for name, cls in SECTIONS.items():
        given = [entries[name] for entries in layers if name in entries]
        root[name] = tree.section(cls, mappings(given, name), name, name, file)
    values = resolved(tree, General, root)
    short = {key: list(inner.values()) == [key] for key, inner in paths.items()}
    found = {
        key: {name: instance(tree, values[key] if short[key] else values[key][name], inner) for name, inner in paths[key].items()}
        for key in paths
    }
    run = RunConfig(
        **vars(instance(tree, values, "")),
        **{key: found[key][key] for key in PARTS},
        guidance=found["guidance"],
        losses=found["loss"],
        exporters=found["exporter"],
        **{name: instance(tree, values[name], name) for name in SECTIONS},
        plugins=tuple(sorted(map(str, tree.catalogue.folders_of(tree.entries)))),
    )
    _check_capabilities(run, tree, paths)
    return run


def _entries(tree: Tree, layers: Layers, key: str, default: str | None) -> dict[str, tuple[str, Layers, str | None]]:
    """name -> (path, layers, default type) of a section that holds entries by name, or one component in the short form.

    An entry differs from a field of the short form by its key, which is no field, and its value, which names a component.
    """
    found: dict[str, Layers] = {} if layers or default is None else {key: []}
    by_name = default is None
    for place, node in layers:
        node = parsed(node, key) if node.kind and node.value is not None else node
        if node.value is None:
            found = {}
            continue
        names = _entry_names(tree, node, key, default, found)
        if default is not None and not names:
            if found and key not in found:
                example = f"{key}.{next(iter(found))}"
                raise ConfigError(f"{key}: this run names several: {', '.join(found)}. Write {example}", place)
            found.setdefault(key, []).append((place, node))
            continue
        by_name = True
        for entries in mappings([(place, node)], key):
            for name, entry in entries.items():
                if name not in names:
                    raise ConfigError(f"{key}.{name}: a field of one {key} beside entries by name", entry[0])
                found.setdefault(name, []).append(entry)
    return {name: (f"{key}.{name}" if by_name else key, below, default if name == key else name) for name, below in found.items()}


def _entry_names(tree: Tree, node: Node, key: str, default: str | None, before: dict[str, Layers]) -> set[str]:
    """The keys of a mapping that name entries.

    Raises:
        ConfigError: a name that cannot be used.
    """
    if not isinstance(node.value, dict):
        return set()
    fields = (
        tree.catalogue.fields(key, node.value["type"][1].text if "type" in node.value else "") if default is not None else set()
    )
    names = set()
    for name, (place, value) in node.value.items():
        declares = isinstance(value.value, dict) and "type" in value.value
        if default is None or (name not in fields and (declares or name in before or tree.catalogue.has(key, name))):
            if not re.fullmatch(r"[A-Za-z][\w-]*", name) or (name in RESERVED and name != key):
                problem = "is taken" if name in RESERVED else "expected letters, digits, - and _"
                raise ConfigError(f"{key}.{name}: a name for one {key}: {problem}", place)
            names.add(name)
    return names


def _check_capabilities(run: RunConfig, tree: Tree, paths: dict[str, dict[str, str]]) -> None:
    """Refuse a renderer or an exporter that needs what the geometry does not give.

    Raises:
        ConfigError: it names what fits.
    """
    geometry = entry_of(run.geometry)
    parts = {"renderer": run.renderer} | {paths["exporter"][name]: settings for name, settings in run.exporters.items()}
    for path, settings in parts.items():
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


class _Dumper(yaml.SafeDumper):
    """Quotes text that other readers would take for a number."""


_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+0123456789."))


def config_to_yaml(config: RunConfig) -> str:
    """The config as YAML that loads to an equal config, every default written out; `OmegaConf.load` reads it too."""
    loss = {name: _written(term) for name, term in config.losses.items()}
    named = {
        key: {name: _written(part) for name, part in parts.items()}
        for key, parts in (("guidance", config.guidance), ("exporter", config.exporters))
    }
    tree = {
        "name": escaped(config.name),
        "seed": config.seed,
        **{key: _written(getattr(config, key)) for key in PARTS},
        **{key: parts[key] if list(parts) == [key] else parts or None for key, parts in named.items()},
        "loss": loss,
        **{key: _written(getattr(config, key)) for key in SECTIONS},
        **({"plugins": list(config.plugins)} if config.plugins else {}),
    }
    text = yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=130, default_flow_style=None)
    return f"{ESCAPED_KEY}: true\n{text}" if "\\${" in text or "???" in text else text


def _written(value: Any) -> Any:
    """Settings as numbers, text, lists and dictionaries; `type` first."""
    if dataclasses.is_dataclass(value) and not isinstance(value, Schedule):
        name = {"type": entry_of(value).name} if is_component(value) else {}
        return name | {field.name: _written(getattr(value, field.name)) for field in dataclasses.fields(value)}
    value = plain(value)
    if isinstance(value, str):
        return escaped(value)
    if isinstance(value, list):
        return [_written(inner) for inner in value]
    return {key: _written(inner) for key, inner in value.items()} if isinstance(value, dict) else value
