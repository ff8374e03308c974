"""Modules read without importing them: what their classes are called, derive from and say.

Importing torch takes seconds, so `list`, `describe`, `check` and every config error read the source instead.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
import sys
from dataclasses import dataclass, field
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path


@dataclass(frozen=True, eq=False)
class Source:
    """One parsed module; the same object as long as the file does not change."""

    name: str
    """Dotted module name."""
    path: Path
    bindings: dict[str, ast.stmt] = field(repr=False)
    """Top-level name -> the statement that binds it."""
    imports: dict[str, str] = field(repr=False)
    """Top-level name -> `package.module` or `package.module:attribute`."""


@dataclass(frozen=True)
class ClassSource:
    """A class statement and the module it stands in."""

    module: Source
    node: ast.ClassDef

    @property
    def address(self) -> str:
        """`package.module:Class`."""
        return f"{self.module.name}:{self.node.name}"

    @property
    def doc(self) -> str:
        """The class's docstring, or nothing."""
        return ast.get_docstring(self.node) or ""


def read(name: str, path: Path) -> Source:
    """The module `name` stored at `path`, parsed.

    Raises:
        SyntaxError: it is not Python.
    """
    return _read(name, path, path.stat().st_mtime_ns)


@cache
def _read(name: str, path: Path, changed_ns: int) -> Source:
    tree = ast.parse(path.read_bytes(), str(path))
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    bindings: dict[str, ast.stmt] = {}
    imports: dict[str, str] = {}
    for statement in _unconditional(tree.body):
        if isinstance(statement, ast.Import | ast.ImportFrom):
            imports.update(_imported(statement, package))
        for bound in _bound(statement):
            bindings[bound] = statement
    return Source(name, path, bindings, imports)


def _unconditional(statements: list[ast.stmt]) -> list[ast.stmt]:
    """The statements with the bodies of top-level `if` and `try` laid open."""
    opened: list[ast.stmt] = []
    for statement in statements:
        opened += _unconditional(statement.body) if isinstance(statement, ast.If | ast.Try) else [statement]
    return opened


def _imported(statement: ast.Import | ast.ImportFrom, package: str) -> dict[str, str]:
    if isinstance(statement, ast.Import):
        return {alias.asname or alias.name.split(".")[0]: _module(alias) for alias in statement.names}
    base = statement.module or ""
    if statement.level:
        base = importlib.util.resolve_name("." * statement.level + base, package)
    return {a.asname or a.name: f"{base}:{a.name}" for a in statement.names}


def _module(alias: ast.alias) -> str:
    return alias.name if alias.asname else alias.name.split(".")[0]


def _bound(statement: ast.stmt) -> list[str]:
    if isinstance(statement, ast.ClassDef | ast.FunctionDef):
        return [statement.name]
    targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
    return [name.id for target in targets if target for name in ast.walk(target) if isinstance(name, ast.Name)]


def locate(name: str) -> Path | None:
    """The file of module `name`, found without importing anything; None when it is no Python file."""
    head, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(head)
    except ValueError:  # __main__ and the like have no spec
        return None
    for part in rest:
        if spec is None or spec.submodule_search_locations is None:
            return None
        head = f"{head}.{part}"
        spec = PathFinder.find_spec(head, list(spec.submodule_search_locations))
    return Path(spec.origin) if spec and spec.origin and spec.origin.endswith(".py") else None


def find(module: Source, dotted: str) -> ClassSource | None:
    """The class that `dotted` (a name, or `module.Name`) means inside `module`, through imports and re-exports."""
    name = dotted
    while True:
        bound = module.bindings.get(name)
        if isinstance(bound, ast.ClassDef):
            return ClassSource(module, bound)
        target, _, attribute = address(module, name).partition(":")
        path = locate(target) if attribute and target != module.name else None
        if path is None:
            return None
        module, name = read(target, path), attribute


def address(module: Source, dotted: str) -> str:
    """`package.module:Name` that `dotted` means inside `module`, as far as its own imports tell."""
    head, _, rest = dotted.partition(".")
    target = module.imports.get(head)
    if target is None:
        return f"{module.name}:{dotted}"
    if not rest:
        return target
    return f"{'.'.join([target.replace(':', '.'), *rest.split('.')[:-1]])}:{rest.rpartition('.')[2]}"


def bases(cls: ClassSource) -> list[str]:
    """The names of the base classes as written, without type parameters."""
    written = [base.value if isinstance(base, ast.Subscript) else base for base in cls.node.bases]
    return [ast.unparse(base) for base in written if isinstance(base, ast.Name | ast.Attribute)]


def ancestry(cls: ClassSource) -> list[ClassSource]:
    """`cls` and those of its ancestors whose source can be read, nearest first."""
    line, waiting = [], [cls]
    while waiting:
        current = waiting.pop(0)
        if current in line:
            continue
        line.append(current)
        waiting = [found for base in bases(current) if (found := find(current.module, base))] + waiting
    return line


@dataclass(frozen=True)
class FieldSource:
    """A config field as written: its annotation and the sentence under it."""

    annotation: str
    sentence: str
    line: int


def fields(cls: ClassSource) -> dict[str, FieldSource]:
    """The annotated fields of a dataclass, inherited ones included, with the string literal under each."""
    found: dict[str, FieldSource] = {}
    for current in reversed(ancestry(cls)):
        following = [*current.node.body[1:], None]
        for statement, after in zip(current.node.body, following, strict=True):
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                found[statement.target.id] = FieldSource(ast.unparse(statement.annotation), _sentence(after), statement.lineno)
    return found


def _sentence(statement: ast.stmt | None) -> str:
    if isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant) and isinstance(statement.value.value, str):
        return " ".join(inspect.cleandoc(statement.value.value).split())
    return ""


def missing_imports(module: Source) -> list[str]:
    """Top-level packages that the module imports unconditionally and that are not installed."""
    tree = ast.parse(module.path.read_bytes())
    wanted: list[str] = []
    for statement in tree.body:
        if isinstance(statement, ast.Import):
            wanted += [alias.name for alias in statement.names]
        elif isinstance(statement, ast.ImportFrom) and not statement.level and statement.module:
            wanted.append(statement.module)
    heads = dict.fromkeys(name.split(".")[0] for name in wanted)
    return [head for head in heads if head not in sys.modules and importlib.util.find_spec(head) is None]
