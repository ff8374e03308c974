"""(kind, name) -> class. The kind comes from the base class, the config type from the constructor's annotation."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass

from threefusion.config import Choice
from threefusion.errors import UserError

KINDS: dict[str, str] = {
    "prompt": "threefusion.prompt.processor:PromptProcessor",
    "camera": "threefusion.camera.sampler:CameraSampler",
    "encoding": "threefusion.geometry.encoding.encoding:Encoding",
    "geometry": "threefusion.geometry.geometry:Geometry",
    "material": "threefusion.material.material:Material",
    "background": "threefusion.background.background:Background",
    "sampler": "threefusion.renderer.sampler.sampler:RaySampler",
    "renderer": "threefusion.renderer.renderer:Renderer",
    "prior": "threefusion.guidance.prior.prior:DiffusionPrior",
    "guidance": "threefusion.guidance.guidance:Guidance",
    "loss": "threefusion.loss.loss:LossTerm",
    "optimizer": "threefusion.optimizer.optimizer:OptimizerFactory",
    "exporter": "threefusion.exporter.exporter:Exporter",
}
"""Every kind, in the order the data travels, with its base class."""


@dataclass(frozen=True)
class Entry:
    """One registered class and the module it came from."""

    cls: type
    origin: str


_entries: dict[tuple[str, str], Entry] = {}


class RegistryError(UserError):
    """A component is unknown, or one name was taken twice."""


def register(name: str) -> Callable[[type], type]:
    """Class decorator: make a component available in YAML under `name`.

    Raises:
        RegistryError: the class has no kind, or another module registered the same (kind, name).
    """

    def add(cls: type) -> type:
        kind = getattr(cls, "kind", "")
        if kind not in KINDS:
            raise RegistryError(f"{cls.__module__}.{cls.__qualname__} derives from no component base class: {', '.join(KINDS)}")
        known = _entries.get((kind, name))
        if known is not None and known.origin != cls.__module__:
            raise RegistryError(f"{kind} {name!r} is registered by both {known.origin} and {cls.__module__}")
        _entries[kind, name] = Entry(cls, cls.__module__)
        cls.registered_name = name  # type: ignore[attr-defined]
        return cls

    return add


def config_class(cls: type) -> type:
    """The dataclass that a component's first constructor parameter `cfg` is annotated with."""
    constructor = inspect.unwrap(cls.__init__)
    annotation = constructor.__annotations__["cfg"]
    # Only this annotation: the others may name things that are imported for type checkers alone.
    return eval(annotation, constructor.__globals__) if isinstance(annotation, str) else annotation


def lookup(kind: str, name: str) -> type:
    """The class registered as `name`, importing the module that declares it if need be.

    Raises:
        RegistryError: no such component, or its module cannot be imported.
    """
    if (kind, name) not in _entries:
        from threefusion.discovery import BUILT_IN, find_declaration

        declaration = find_declaration(kind, name)
        module = declaration.source.module.name
        try:
            importlib.import_module(module)
        except Exception as error:
            if declaration.origin == BUILT_IN:
                raise
            reason = f"{type(error).__name__}: {error}"
            raise RegistryError(f"{kind} {name!r} of plugin {declaration.origin} could not be imported: {reason}") from error
    return _entries[kind, name].cls


def names(kind: str) -> list[str]:
    """The names of one kind, declared in files or registered by running code, sorted."""
    from threefusion.discovery import catalogue

    return sorted({*catalogue().names(kind), *(name for known, name in _entries if known == kind)})


def config_type(kind: str, name: str) -> type:
    """The config dataclass of a component, without importing its module if the source is enough.

    Raises:
        RegistryError: no such component.
    """
    from threefusion.declarations import config_source
    from threefusion.discovery import find_declaration
    from threefusion.slicing import SliceError, execute

    if (kind, name) in _entries:
        return sound(config_class(_entries[kind, name].cls))
    try:
        return sound(execute(config_source(find_declaration(kind, name).source)))
    except SliceError:
        return sound(config_class(lookup(kind, name)))


def sound(cls: type) -> type:
    """`cls`, if a config can be made of it.

    Raises:
        RegistryError: it is no frozen dataclass, an annotation names nothing, or a field is called `type`.
    """
    if not dataclasses.is_dataclass(cls) or not cls.__dataclass_params__.frozen:
        raise RegistryError(
            f"{cls.__name__} has to be a dataclass with frozen=True, because configs are never written after loading"
        )
    try:
        hints = typing.get_type_hints(cls)
    except (NameError, TypeError, AttributeError) as error:
        raise RegistryError(f"{cls.__name__}: a field's type cannot be told: {error}") from error
    if "type" in hints:
        raise RegistryError(f"{cls.__name__}: no field can be called 'type', which names the component")
    return cls


def settings(choice: Choice) -> typing.Any:
    """The typed config of the component that `choice` names; nothing is built."""
    return config_type(choice.kind, choice.name)(**dict(choice.settings))


def build(choice: Choice, *dependencies: object) -> typing.Any:
    """The component that `choice` names: its class called with its typed config and `dependencies`."""
    cls = lookup(choice.kind, choice.name)
    return cls(config_class(cls)(**dict(choice.settings)), *dependencies)
