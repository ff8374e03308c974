"""(kind, name) -> settings class, and settings class -> component class. Loads no torch until a component is built."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import sys
import typing
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from threefusion.errors import UserError, nearest

KINDS: dict[str, str] = {
    "prompt": "threefusion.prompt.settings",
    "camera": "threefusion.camera.settings",
    "encoding": "threefusion.geometry.encoding.settings",
    "geometry": "threefusion.geometry.settings",
    "material": "threefusion.material.settings",
    "background": "threefusion.background.settings",
    "sampler": "threefusion.renderer.sampler.settings",
    "renderer": "threefusion.renderer.settings",
    "prior": "threefusion.guidance.prior.settings",
    "noise": "threefusion.guidance.noise.settings",
    "contrast": "threefusion.guidance.contrast.settings",
    "state": "threefusion.guidance.state.settings",
    "scorer": "threefusion.guidance.scorer.settings",
    "guidance": "threefusion.guidance.settings",
    "loss": "threefusion.loss.settings",
    "optimizer": "threefusion.optimizer.settings",
    "exporter": "threefusion.exporter.settings",
    "logger": "threefusion.config.sections",
    "viewer": "threefusion.viewer.settings",
}
"""Every kind, in the order the data travels, with the module that declares its settings."""


class RegistryError(UserError):
    """A component is unknown or cannot be used, or one name was taken twice."""


@dataclass(frozen=True)
class Entry:
    """A registered component."""

    kind: str
    name: str
    settings: type
    target: str
    """`module:Class` of the component, imported when it is built."""
    gives: tuple[str, ...]
    """What a geometry offers: density, canvas, ...; what a render contains, of a renderer: samples, mesh, ...; of a prompt: the
    shares of front, side, back and overhead in every view, blended-views."""
    needs: tuple[str, ...]
    """What a renderer or an exporter must be given by the geometry, a geometry by the one that it starts from, a loss by the
    renderer or the geometry, and an objective's part by the prompt."""
    file: Path
    """Where it was declared."""

    def load(self) -> Callable:
        """The component class, or the function that makes the component."""
        module, _, name = self.target.partition(":")
        return getattr(importlib.import_module(module), name)


ENTRIES: dict[tuple[str, str, Path], Entry] = {}
"""Everything declared so far, by kind, name and file; `Catalogue` decides what a config sees of it."""
_by_settings: dict[type, Entry] = {}


def component(
    kind: str, name: str, target: str, gives: tuple[str, ...] = (), needs: tuple[str, ...] = ()
) -> Callable[[type], type]:
    """Decorator of a frozen settings dataclass: they are the settings of the component `name`, whose class is `module:Class`.

    Raises:
        RegistryError: no such kind, the class cannot be set in a config, or it belongs to another component.
    """

    def declare(cls: type) -> type:
        if kind not in KINDS:
            raise RegistryError(f"{cls.__name__}: unknown kind {kind!r}{nearest(kind, KINDS)}")
        if not cls.__module__.startswith("threefusion."):  # tests read the package's own
            _check_settings(cls)
        taken = _by_settings.get(cls)
        if taken is not None and (taken.kind, taken.name) != (kind, name):
            raise RegistryError(
                f"{cls.__name__} belongs to the {taken.kind} {taken.name!r}; derive a settings class of its own for {name!r}"
            )
        file = Path(getattr(sys.modules.get(cls.__module__), "__file__", None) or cls.__module__).resolve()
        ENTRIES[kind, name, file] = _by_settings[cls] = Entry(kind, name, cls, target, gives, needs, file)
        return cls

    return declare


def register(name: str, gives: tuple[str, ...] = (), needs: tuple[str, ...] = ()) -> Callable[[type], type]:
    """Decorator of a component class whose constructor is annotated `cfg: SomeFrozenDataclass`; for plugins in one file.

    Raises:
        RegistryError: the class has no kind, or its settings cannot be used.
    """

    def add(cls: type) -> type:
        kind = getattr(cls, "kind", "")
        if kind not in KINDS:
            raise RegistryError(f"{cls.__qualname__} has no component base class ({', '.join(KINDS)})")
        settings = _constructor_settings(cls)
        component(kind, name, f"{cls.__module__}:{cls.__qualname__}", gives, needs)(settings)
        return cls

    return add


def _constructor_settings(cls: type) -> type:
    """The dataclass that the constructor's parameter `cfg` is annotated with."""
    constructor = inspect.unwrap(cls.__init__)
    annotation = getattr(constructor, "__annotations__", {}).get("cfg")
    if annotation is None:
        raise RegistryError(f"the constructor of {cls.__name__} needs `cfg: SomeFrozenDataclass` as its first parameter")
    # only this annotation: others may name what is imported for type checkers alone
    return eval(annotation, constructor.__globals__) if isinstance(annotation, str) else annotation


def _check_settings(cls: type) -> None:
    if not dataclasses.is_dataclass(cls) or not cls.__dataclass_params__.frozen:
        raise RegistryError(f"{cls.__name__} must be a dataclass with frozen=True: configs are never changed after loading")
    if not any((base.__module__, base.__name__) == ("threefusion.config.fields", "Settings") for base in cls.__mro__):
        raise RegistryError(f"{cls.__name__} must derive from threefusion.Settings")
    try:
        hints = typing.get_type_hints(cls)
    except (NameError, TypeError, AttributeError) as error:
        raise RegistryError(f"{cls.__name__}: the type of a field cannot be resolved: {error}") from error
    if "type" in hints:
        raise RegistryError(f"{cls.__name__}: no field can be called 'type', which names the component")


def entry_of(settings: type | object) -> Entry:
    """The entry that a settings class (or an instance of it) belongs to.

    Raises:
        RegistryError: it belongs to no component.
    """
    cls = settings if isinstance(settings, type) else type(settings)
    if cls not in _by_settings:
        raise RegistryError(f"{cls.__name__} is not registered: decorate it with @component, or its component with @register")
    return _by_settings[cls]


def meets(needs: Iterable[str], gives: Iterable[str]) -> bool:
    """Whether every need, which may be a choice such as `density|surface`, is met.

    >>> meets(["density|surface"], ["surface"]), meets(["density"], [])
    (True, False)
    """
    return all(set(need.split("|")) & set(gives) for need in needs)


def is_component(settings: object) -> bool:
    """Whether settings belong to a component."""
    return type(settings) in _by_settings


def build(cfg: object, *dependencies: object) -> Any:
    """The component that the settings `cfg` are for: its class called with them and `dependencies`."""
    return entry_of(cfg).load()(cfg, *dependencies)
