"""The whole config tree is checked before anything is built; nothing here loads torch."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from threefusion import discovery
from threefusion.config import LOGGERS, Choice, ConfigError, FacingConfig, OpsConfig, OutputConfig, RunConfig
from threefusion.document import COMMAND_LINE, Mapping, Place, Scalar, parsed, read_layers
from threefusion.fields import Layers, check_fields, component, leaf, resolve, under
from threefusion.suggest import nearest
from threefusion.trainer_arguments import trainer_argument
from threefusion.values import convert, got

PARTS: dict[str, str | None] = {
    "prompt": "interpolated",
    "camera": "orbital",
    "geometry": "density-field",
    "material": "diffuse",
    "background": "solid",
    "renderer": "volume",
    "guidance": "sds",
    "optimizer": "adam",
    "exporter": "mesh",
}
"""Top-level keys that name one component, with the component that is meant when `type` is left out."""
OTHER_KEYS = ("seed", "name", "loss", "trainer", "logger", "output", "ops", "facing", "plugins")


def check_run(path: Path, overrides: list[str]) -> RunConfig:
    """The checked config of the file `path` with `key=value` overrides.

    Raises:
        ConfigError: the first thing that is wrong.
    """
    discovery.search_above(path)
    documents = read_layers(path, overrides)
    file = Place(str(path))
    _search_listed(under(documents, "plugins"))
    for document in documents:
        for key in document.entries:
            _check_key(key, document.key_place(key))
    parts = {kind: component(under(documents, kind), kind, default, kind, file) for kind, default in PARTS.items()}
    for kind, choice in parts.items():
        if choice is None and kind != "exporter":
            raise ConfigError(f"{kind}: a run needs one", under(documents, kind)[-1][1])
    losses = _losses(under(documents, "loss"), file)
    return RunConfig(
        seed=_seed(under(documents, "seed")),
        name=leaf(under(documents, "name"), str, "name", path.stem),
        **parts,
        losses=losses,
        trainer=_trainer(under(documents, "trainer")),
        logger=_logger(under(documents, "logger"), file),
        output=_section(documents, "output", OutputConfig, file),
        ops=_section(documents, "ops", OpsConfig, file),
        facing=_section(documents, "facing", FacingConfig, file),
        plugins=tuple(sorted({str(folder) for choice in (*parts.values(), *losses.values()) for folder in _folders_of(choice)})),
    )


def _seed(layers: Layers) -> int:
    """A seed that torch's generators take."""
    seed = leaf(layers, int, "seed", 0)
    if not 0 <= seed < 2**63:
        raise ConfigError(f"seed: 0 to 2**63 - 1, got {seed}", layers[-1][1])
    return seed


def _search_listed(layers: Layers) -> None:
    """Make the folders under `plugins` known; a relative one starts where the file lies that names it."""
    for node, place in layers:
        for text in convert(node, list[str], "plugins"):
            folder = Path(text) if place.file == COMMAND_LINE else Path(place.file).parent / Path(text).expanduser()
            if not folder.is_dir():
                raise ConfigError(f"plugins: {folder} is no folder", place)
            discovery.search(folder)


def _folders_of(choice: Choice | None) -> Iterator[Path]:
    """The plugin folders of a component and of those inside it."""
    if choice is None:
        return
    if folder := discovery.folder_of(choice.kind, choice.name):
        yield folder
    for _, value in choice.settings:
        if isinstance(value, Choice):
            yield from _folders_of(value)


def _check_key(key: str, place: Place) -> None:
    keys = [*PARTS, *OTHER_KEYS, "extends"]
    if key == "extends":
        raise ConfigError("extends: belongs into a file", place)
    if key not in keys:
        raise ConfigError(f"{key}: no such part of a run{nearest(key, keys)}", place)


def _entries(layers: Layers, path: str) -> dict[str, Layers]:
    """The layers of every entry of a section of named entries."""
    mappings = []
    for node, place in layers:
        node = parsed(node)
        if isinstance(node, Scalar) and node.is_null:
            mappings = []
        elif isinstance(node, Mapping):
            mappings.append(node)
        else:
            raise ConfigError(f"{path}: expected 'name: value' lines, got {got(node)}", place)
    return {key: under(mappings, key) for key in dict.fromkeys(key for mapping in mappings for key in mapping.entries)}


def _losses(layers: Layers, file: Place) -> dict[str, Choice]:
    checked = {name: component(below, "loss", name, f"loss.{name}", file) for name, below in _entries(layers, "loss").items()}
    return {name: choice for name, choice in checked.items() if choice is not None}


def _trainer(layers: Layers) -> dict[str, Any]:
    places = {name: below[-1] for name, below in _entries(layers, "trainer").items()}
    given = {name: trainer_argument(name, node, place) for name, (node, place) in places.items()}
    if given.get("gradient_clip_val") and "mixed" in str(given.get("precision")):
        raise ConfigError(
            f"trainer.gradient_clip_val: not under precision {given['precision']!r}, where Lightning clips no fused optimiser",
            places["gradient_clip_val"][1],
        )
    return given


def _logger(layers: Layers, file: Place) -> dict[str, Any]:
    named = resolve(layers, "csv", "logger", file)
    name = named.name or "csv"
    if name not in LOGGERS:
        raise ConfigError(f"{named.path}: no logger is called {name!r}{nearest(name, LOGGERS)}", named.place)
    fields = check_fields(named.mappings, LOGGERS[name], "logger", name, named.place)
    return {"type": name, **{key: value for key, value in fields.items() if value not in (None, [])}}


def _section(documents: list[Mapping], name: str, cls: type, file: Place) -> Any:
    """The dataclass of a section that is no component."""
    layers = under(documents, name)
    for node, place in layers:
        if not isinstance(parsed(node), Mapping):
            raise ConfigError(f"{name}: expected 'field: value' lines, got {got(node)}", place)
    mappings = [typing.cast(Mapping, parsed(node)) for node, _ in layers]
    return cls(**check_fields(mappings, cls, name, name, file))
