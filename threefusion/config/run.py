"""A whole run: `load_config` reads it, `config_to_yaml` writes it. Nothing here loads torch."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from omegaconf import OmegaConf

from threefusion.config.catalogue import Catalogue, plugin_folders
from threefusion.config.document import (
    COMMAND_LINE,
    ESCAPED_KEY,
    FLOAT,
    Place,
    apply,
    construct,
    entries,
    is_null,
    is_written,
    parsed,
    place,
    read_layers,
    read_overrides,
)
from threefusion.config.fields import Schedule, Settings, bounded
from threefusion.config.sections import SET_BY_THE_RUN, FacingConfig, OpsConfig, OutputConfig, TrainerConfig
from threefusion.config.tree import Layers, Tree, mappings, under
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
RESERVED = frozenset(
    """guidance loss opacity step T_destination add_module apply bfloat16 buffers call_super_init children clear compile cpu cuda
    double dump_patches eval extra_repr float forward get_buffer get_extra_state get_parameter get_submodule half ipu items keys
    load_state_dict modules mtia named_buffers named_children named_modules named_parameters parameters pop register_buffer
    register_module register_parameter requires_grad_ share_memory state_dict set_extra_state set_submodule to to_empty train
    training type update values xpu zero_grad""".split()
)
"""Names that metrics or torch's modules use for something else."""


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
    given = read_overrides(overrides)
    before = list(layers)
    for override in given:
        apply(override, layers)
    for layer in layers:
        for name, (key, _) in entries(layer).items():
            if name == "extends" or name not in (*KEYS, ESCAPED_KEY):
                problem = "only a file can extend others" if name == "extends" else f"unknown key of a run{nearest(name, KEYS)}"
                raise ConfigError(f"{name}: {problem}", place(key))
    for _, node in under(layers, "trainer"):
        for name, (key, _) in entries(node).items() if isinstance(node, yaml.MappingNode) else ():
            if name in SET_BY_THE_RUN:
                raise ConfigError(f"trainer.{name}: set by the run: {SET_BY_THE_RUN[name]}", place(key))
    tree = Tree(Catalogue((*plugin_folders(path), *_listed_folders(under(layers, "plugins")))))
    config = _assembled(tree, layers, path)
    for override in given:
        if override.mode == "+" and not _is_new_entry(override.keys, before, tree):
            raise ConfigError(f"+{override.key}: exists already; write it without +", place(override.value))
    return config


def _is_new_entry(keys: tuple[str, ...], before: list[yaml.MappingNode], tree: Tree) -> bool:
    """Whether an added key, or something above it, is an entry of a dictionary that was not there."""
    above = [keys[:count] for count in range(2, len(keys) + 1)]
    return any(".".join(part) not in tree.fields and not is_written(before, part) for part in above)


def _listed_folders(layers: Layers) -> Iterator[Path]:
    """The folders under `plugins`; a relative one starts where the file lies that names it."""
    for key, node in layers:
        node, where = parsed(node), place(key)
        if not isinstance(node, yaml.SequenceNode) or not all(isinstance(item, yaml.ScalarNode) for item in node.value):
            raise ConfigError(f"plugins: expected a list of folders, got {got(construct(node))}", where)
        for item in node.value:
            folder = Path(item.value).expanduser()
            folder = folder if where.file == COMMAND_LINE else Path(where.file).parent / folder
            if not folder.is_dir():
                raise ConfigError(f"plugins: {item.value!r} is not a directory", where)
            yield folder.resolve()


def _assembled(tree: Tree, layers: list[yaml.MappingNode], path: Path) -> RunConfig:
    """The run that the layers describe: first one tree of all nodes, for interpolation between them, then the dataclasses."""
    file = Place(str(path))
    top = [yaml.MappingNode(node.tag, [p for p in node.value if p[0].value in ("seed", "name")], file) for node in layers]
    root = tree.section(General, top, "", "a run", file)
    OmegaConf.set_struct(root, False)
    if not under(layers, "name"):
        root.name = escaped(path.stem)
    paths: dict[str, dict[str, str]] = {}
    for key, default in (PARTS | NAMED | {"loss": None}).items():
        parts = (
            _entries(tree, under(layers, key), key, default) if key not in PARTS else {key: (key, under(layers, key), default)}
        )
        nodes = {name: tree.component(below, key, preset, inner, file) for name, (inner, below, preset) in parts.items()}
        if key not in ("loss", "exporter") and not any(node is not None for node in nodes.values()):
            raise ConfigError(f"{key}: cannot be null: a run needs one", place(under(layers, key)[-1][0]))
        paths[key] = {name: parts[name][0] for name, node in nodes.items() if node is not None}
        root[key] = nodes[key] if list(paths[key].values()) == [key] else {name: nodes[name] for name in paths[key]}
    for name, cls in SECTIONS.items():
        root[name] = tree.section(cls, mappings(under(layers, name), name), name, name, file)
    found = {
        key: {name: tree.instance(OmegaConf.select(root, inner), inner) for name, inner in paths[key].items()} for key in paths
    }
    run = RunConfig(
        **vars(tree.instance(root, "")),
        **{key: found[key][key] for key in PARTS},
        guidance=found["guidance"],
        losses=found["loss"],
        exporters=found["exporter"],
        **{name: tree.instance(root[name], name) for name in SECTIONS},
        plugins=(),
    )
    _check_capabilities(run, tree, paths)
    used = {tree.catalogue.folder_of(part) for part in _components(run)} - {None}
    return dataclasses.replace(run, plugins=tuple(sorted(map(str, used))))


def _entries(tree: Tree, layers: Layers, key: str, default: str | None) -> dict[str, tuple[str, Layers, str | None]]:
    """name -> (path, layers, default type) of a section that holds entries by name, or one component in the short form.

    An entry is told from a field of the short form by its key, which is no field, and its value, which names a component.
    """
    found: dict[str, Layers] = {} if layers or default is None else {key: []}
    named = default is None
    for pair in layers:
        node = parsed(pair[1], key)
        if is_null(node):
            found = {}
            continue
        names = _entry_names(tree, node, key, default, found)
        if default is not None and not names:
            if found and key not in found:
                example = f"{key}.{next(iter(found))}"
                raise ConfigError(f"{key}: this run names several: {', '.join(found)}. Write {example}", place(pair[0]))
            found.setdefault(key, []).append((pair[0], node))
            continue
        named = True
        for node in mappings([pair], key):
            for name, entry in entries(node).items():
                if name not in names:
                    raise ConfigError(f"{key}.{name}: a field of one {key} beside entries by name", place(entry[0]))
                found.setdefault(name, []).append(entry)
    return {name: (f"{key}.{name}" if named else key, below, default if name == key else name) for name, below in found.items()}


def _entry_names(tree: Tree, node: yaml.Node, key: str, default: str | None, before: dict[str, Layers]) -> set[str]:
    """The keys of a mapping that name entries.

    Raises:
        ConfigError: a name that cannot be used.
    """
    if not isinstance(node, yaml.MappingNode):
        return set()
    fields = tree.catalogue.fields(key) if default is not None else set()
    names = set()
    for name, (word, value) in entries(node).items():
        declares = isinstance(value, yaml.MappingNode) and "type" in entries(value)
        if default is None or (name not in fields and (declares or name in before or tree.catalogue.has(key, name))):
            if not re.fullmatch(r"[A-Za-z][\w-]*", name) or (name in RESERVED and name != key):
                problem = "is taken" if name in RESERVED else "expected letters, digits, - and _"
                raise ConfigError(f"{key}.{name}: a name for one {key}: {problem}", place(word))
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


def _components(value: Any) -> Iterator[Settings]:
    """All component settings in a run, nested ones included."""
    if dataclasses.is_dataclass(value):
        if is_component(value):
            yield value
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    for inner in value.values() if isinstance(value, dict) else ():
        yield from _components(inner)


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
