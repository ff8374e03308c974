"""Components as their source declares them: kind, name, config class."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from threefusion.registry import KINDS, RegistryError
from threefusion.source import ClassSource, Source, address, ancestry, bases, find

BASES = {base: kind for kind, base in KINDS.items()}
"""The base class of each kind, by its address."""


@dataclass(frozen=True)
class Declaration:
    """A component found in a source file."""

    kind: str
    name: str
    source: ClassSource
    origin: str
    """`threefusion`, the plugin's path, or the installed distribution."""

    @property
    def place(self) -> str:
        """`path:line` of the class."""
        return f"{shown(self.source.module.path)}:{self.source.node.lineno}"


def shown(path: Path) -> Path:
    """`path` relative to the current directory when it lies inside."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def declared(source: Source, origin: str) -> list[Declaration]:
    """The components that a module registers.

    Raises:
        RegistryError: a registration that cannot be understood from the source.
    """
    found = []
    for node in source.bindings.values():
        if not isinstance(node, ast.ClassDef):
            continue
        for name in _registered_names(source, node):
            cls = ClassSource(source, node)
            found.append(Declaration(kind_of(cls), name, cls, origin))
    return found


def _registered_names(source: Source, node: ast.ClassDef) -> Iterator[str]:
    for decorator in node.decorator_list:
        if not isinstance(decorator, ast.Call) or ast.unparse(decorator.func).rpartition(".")[2] != "register":
            continue
        argument = decorator.args[0] if decorator.args else None
        if not isinstance(argument, ast.Constant) or not isinstance(argument.value, str):
            raise RegistryError(f"{shown(source.path)}:{node.lineno}: @register needs its name as a string literal")
        yield argument.value


def kind_of(cls: ClassSource) -> str:
    """The kind that a class's ancestors give it.

    Raises:
        RegistryError: none of them is a component base class.
    """
    for ancestor in ancestry(cls):
        for base in (ancestor.address, *(address(ancestor.module, name) for name in bases(ancestor))):
            if base in BASES:
                return BASES[base]
    raise RegistryError(
        f"{shown(cls.module.path)}:{cls.node.lineno}: {cls.node.name} derives from no component base class ({', '.join(KINDS)})"
    )


def config_source(cls: ClassSource) -> ClassSource:
    """The config dataclass that the constructor's `cfg` parameter is annotated with.

    Raises:
        RegistryError: the constructor does not say.
    """
    for ancestor in ancestry(cls):
        for node in ancestor.node.body:
            if not isinstance(node, ast.FunctionDef) or node.name != "__init__":
                continue
            annotation = next((a.annotation for a in node.args.args if a.arg == "cfg"), None)
            text = annotation.value if isinstance(annotation, ast.Constant) else annotation and ast.unparse(annotation)
            found = find(ancestor.module, text) if text else None
            if found is not None:
                return found
            place = f"{shown(ancestor.module.path)}:{node.lineno}"
            raise RegistryError(
                f"{place}: the constructor of {cls.node.name} needs `cfg: SomeFrozenDataclass` as its first parameter"
            )
    raise RegistryError(f"{shown(cls.module.path)}:{cls.node.lineno}: {cls.node.name} has no constructor with a `cfg` parameter")
