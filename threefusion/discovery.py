"""Which modules declare which components: the package itself, then `plugins/` folders, then entry points.

Nothing is imported to find out: the source is read. A component's module is imported when the component is built.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from threefusion.declarations import Declaration, declared, shown
from threefusion.registry import RegistryError
from threefusion.source import locate, missing_imports, read
from threefusion.suggest import nearest

ENTRY_POINTS = "threefusion.plugins"
BUILT_IN = "threefusion"
NOT_PLUGIN = re.compile(r"(tests|configs|docs|build|dist|__pycache__|setup\.py|conftest\.py|test_.*\.py|\..*|.*\.egg-info)$")


@dataclass(frozen=True)
class Failure:
    """A plugin that cannot be used, and why."""

    origin: str
    reason: str

    def __str__(self) -> str:
        return f"plugin {self.origin} could not be loaded: {self.reason}"


@dataclass
class Catalogue:
    """Everything that was found."""

    declarations: dict[tuple[str, str], Declaration] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    clashes: dict[tuple[str, str], str] = field(default_factory=dict)

    def names(self, kind: str) -> list[str]:
        """The names of one kind, sorted."""
        return sorted(name for known, name in self.declarations if known == kind)

    def add(self, declaration: Declaration) -> None:
        """Take a declaration in, or note that its name is taken."""
        key = declaration.kind, declaration.name
        known = self.declarations.setdefault(key, declaration)
        if known.place != declaration.place:
            self.clashes[key] = f"{key[0]} {key[1]!r} is declared twice: {known.place} and {declaration.place}"


def find_declaration(kind: str, name: str) -> Declaration:
    """The component registered as `name`.

    Raises:
        RegistryError: there is none, or more than one.
    """
    known = catalogue()
    if (kind, name) in known.clashes:
        raise RegistryError(known.clashes[kind, name])
    if (kind, name) in known.declarations:
        return known.declarations[kind, name]
    problem = f"no {kind} is called {name!r}{nearest(name, known.names(kind))}"
    raise RegistryError("; ".join([problem, *map(str, known.failures)]))


_folders: dict[Path, None] = {}


def search(folder: Path) -> None:
    """Look for plugins in `folder`, if there is such a folder, from now on."""
    if folder.is_dir():
        _folders.setdefault(folder.resolve())


def search_above(file: Path) -> None:
    """Look for plugins in the folder `plugins` nearest above `file`."""
    above = (parent / "plugins" for parent in file.resolve().parents)
    search(next((folder for folder in above if folder.is_dir()), Path("plugins")))


def catalogue() -> Catalogue:
    """All components of the package, of the known plugin folders and of installed entry points."""
    search(Path("plugins"))
    return _catalogue(tuple(_folders))


def folder_of(kind: str, name: str) -> Path | None:
    """The plugin folder that a component comes from; None for those of the package, of installed plugins and of running code."""
    declaration = catalogue().declarations.get((kind, name))
    path = declaration.source.module.path.resolve() if declaration else Path()
    return next((folder for folder in _folders if path.is_relative_to(folder)), None)


def refresh() -> None:
    """Forget all folders and everything that was found."""
    _folders.clear()
    _catalogue.cache_clear()


@lru_cache(maxsize=4)
def _catalogue(folders: tuple[Path, ...]) -> Catalogue:
    found = Catalogue()
    for module in _modules(Path(__file__).parent, "threefusion"):
        _collect(found, BUILT_IN, [module])
    for folder in folders:
        for plugin in sorted(folder.iterdir()):
            if not NOT_PLUGIN.match(plugin.name) and (plugin.is_dir() or plugin.suffix == ".py"):
                _collect(found, f"{shown(plugin)}", _plugin_modules(plugin))
    for origin, modules in _entry_points():
        _collect(found, origin, modules)
    return found


def _collect(found: Catalogue, origin: str, modules: list[tuple[str, Path]] | str) -> None:
    """Add what a plugin declares, or the reason why it cannot be used."""
    if isinstance(modules, str):
        found.failures.append(Failure(origin, modules))
        return
    try:
        declarations: list[Declaration] = []
        for name, path in modules:
            if _registers(path):
                source = read(name, path)
                if origin != BUILT_IN and (missing := missing_imports(source)):
                    raise ImportError(f"{shown(path)} imports {missing[0]!r}, which is not installed")
                declarations += declared(source, origin)
    except SyntaxError as error:
        found.failures.append(Failure(origin, f"{shown(Path(error.filename or origin))}:{error.lineno}: {error.msg}"))
    except (ImportError, RegistryError, OSError, ValueError) as error:
        found.failures.append(Failure(origin, str(error)))
    else:
        for declaration in declarations:
            found.add(declaration)


def _registers(path: Path) -> bool:
    return b"register(" in path.read_bytes()


def _modules(folder: Path, package: str) -> Iterator[tuple[str, Path]]:
    """Every module under a package's folder."""
    for path in sorted(folder.iterdir()):
        if NOT_PLUGIN.match(path.name):
            continue
        if path.is_dir() and path.name.isidentifier():
            yield from _modules(path, f"{package}.{path.name}")
        elif path.suffix == ".py":
            yield (package if path.stem == "__init__" else f"{package}.{path.stem}"), path


def _plugin_modules(plugin: Path) -> list[tuple[str, Path]] | str:
    """The modules of one entry of `plugins/`: a file, a package, a folder of files, or a pip project.

    Their parent folder goes to the end of `sys.path`, so that they are imported under the names they have when installed.
    """
    project = plugin.is_dir() and any((plugin / name).exists() for name in ("pyproject.toml", "setup.py"))
    if not project:
        root, modules = plugin.parent, list(_modules(plugin, plugin.name)) if plugin.is_dir() else [(plugin.stem, plugin)]
    else:
        root = plugin / "src" if (plugin / "src").is_dir() else plugin
        modules = [
            module
            for path in sorted(root.iterdir())
            if not NOT_PLUGIN.match(path.name)
            for module in (_modules(path, path.name) if path.is_dir() else [(path.stem, path)] if path.suffix == ".py" else [])
        ]
    if str(root) not in sys.path:
        sys.path.append(str(root))
    for head in {name.split(".")[0] for name, _ in modules}:
        spec = importlib.util.find_spec(head) if head.isidentifier() else None
        places = [*(spec.submodule_search_locations or [spec.origin])] if spec else []
        if not any(str(place).startswith(str(root)) for place in places):
            return (
                f"its name {head!r} is already taken by {places[0]}"
                if places
                else f"{head!r} is no module name: use letters, digits and _"
            )
    return modules


def _entry_points() -> Iterator[tuple[str, list[tuple[str, Path]] | str]]:
    """Installed plugins: where they come from, and their modules or what is wrong."""
    from importlib.metadata import entry_points

    for point in entry_points(group=ENTRY_POINTS):
        origin = f"{point.dist.name} {point.dist.version}" if point.dist else point.name
        path = locate(point.module)
        if path is None:
            yield origin, f"its entry point {point.name!r} names the module {point.module!r}, which does not exist"
        else:
            yield origin, list(_modules(path.parent, point.module)) if path.name == "__init__.py" else [(point.module, path)]
