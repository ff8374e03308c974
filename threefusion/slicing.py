"""Config dataclasses without their module's imports: only the statements that a dataclass needs are executed."""

from __future__ import annotations
import __future__

import ast
import importlib
import sys
from types import ModuleType
from typing import Any

from threefusion.source import ClassSource, Source, locate, read

SHARED = {f"threefusion.{name}" for name in ("config", "schedule", "errors", "optional", "registry")}
"""Modules that are imported for real: they load nothing heavy, and their classes must be the same everywhere."""


class SliceError(Exception):
    """A dataclass needs something that its source alone does not give."""


def execute(cls: ClassSource) -> type:
    """The class itself, made by running its statement and those that it refers to.

    Raises:
        SliceError: that did not work; importing the module might.
    """
    return _Slice.of(cls.module).value(cls.node.name)


class _Slice:
    """The part of one module that has been executed so far, in a module object of its own."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.namespace = ModuleType(f"slice of {source.name}")
        # dataclasses and typing look names of string annotations up in sys.modules.
        sys.modules[self.namespace.__name__] = self.namespace
        self.running: set[str] = set()

    @classmethod
    def of(cls, source: Source) -> _Slice:
        if source not in _slices:
            _slices[source] = cls(source)
        return _slices[source]

    def value(self, name: str) -> Any:
        """What the module's top-level `name` is bound to."""
        names = vars(self.namespace)
        if name not in names:
            try:
                self._bind(name)
            except SliceError:
                raise
            except Exception as error:
                raise SliceError(f"{self.source.path}: {type(error).__name__}: {error}") from error
        return names[name]

    def _bind(self, name: str) -> None:
        if name in self.source.imports:
            vars(self.namespace)[name] = self._imported(self.source.imports[name])
            return
        if name not in self.source.bindings:
            raise SliceError(f"{self.source.path}: no name {name!r}")
        statement = self.source.bindings[name]
        self.running.add(name)
        for needed in _needed_names(statement):
            if needed in vars(self.namespace) or needed in self.running:
                continue
            if needed in self.source.bindings or needed in self.source.imports:
                self._bind(needed)
        code = compile(
            ast.Module([statement], []),
            str(self.source.path),
            "exec",
            flags=__future__.annotations.compiler_flag,
            dont_inherit=True,
        )
        exec(code, vars(self.namespace))
        self.running.discard(name)

    def _imported(self, target: str) -> Any:
        module, _, attribute = target.partition(":")
        readable = module.split(".")[0] in ("threefusion", self.source.name.split(".")[0])
        if readable and attribute and module not in SHARED and (path := locate(module)) is not None:
            source = read(module, path)
            if attribute in source.bindings or attribute in source.imports:
                return _Slice.of(source).value(attribute)
        imported = importlib.import_module(module)
        return getattr(imported, attribute) if attribute else imported


_slices: dict[Source, _Slice] = {}


class _Names(ast.NodeVisitor):
    """Collects the names that running a statement may look up; annotations inside functions are never evaluated."""

    def __init__(self) -> None:
        self.found: dict[str, None] = {}

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Load):
            self.found[node.id] = None

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        for child in (*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults), *node.body):
            self.visit(child)


def _needed_names(statement: ast.stmt) -> list[str]:
    names = _Names()
    names.visit(statement)
    return list(names.found)
