"""Which modules declare which components: the package itself, then `plugins/` folders, then entry points.

Nothing is imported to find out: the source is read. A component's module is imported when the component is built.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path

from threefusion.declarations import Declaration, declared, shown
from threefusion.registry import RegistryError
from threefusion.source import locate, missing_imports, read
from threefusion.suggest import nearest

ENTRY_POINTS = "threefusion.plugins"
BUILT_IN = "threefusion"
NOT_PLUGIN = re.compile(r"(tests|configs|docs|build|dist|__pycache__|setup\.py|conftest\.py|test_.*\.py|\..*|.*\.egg-info)$")


@dataclass(frozen=True)
class Plugin:
    """Modules that come together."""

    origin: str
    modules: list[tuple[str, Path]]
    """Name and file of each."""
    fault: str = ""
    """Why it cannot be used, if that is known before its modules are read."""


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

    def copy(self) -> Catalogue:
        """Another one that can be added to."""
        return Catalogue(dict(self.declarations), list(self.failures), dict(self.clashes))

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
_added_to_path: list[str] = []


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
    """Forget all folders and everything that was found there."""
    _folders.clear()
    sys.path[:] = [entry for entry in sys.path if entry not in _added_to_path]
    _added_to_path.clear()
    _catalogue.cache_clear()


@lru_cache(maxsize=4)
def _catalogue(folders: tuple[Path, ...]) -> Catalogue:
    found = _package().copy()
    entries = (entry for folder in folders for entry in sorted(folder.iterdir()) if not NOT_PLUGIN.match(entry.name))
    local = [_plugin(entry) for entry in entries if entry.is_dir() or entry.suffix == ".py"]
    # Those at fault come last: all that is left to say of them is whether they take somebody's name.
    for plugin in sorted([*local, *_installed_plugins()], key=lambda plugin: bool(plugin.fault)):
        _collect(found, plugin)
    return found


@cache
def _package() -> Catalogue:
    """What the package itself declares, module by module: one that cannot be read leaves the others alone."""
    found = Catalogue()
    for module in _modules(Path(__file__).parent, BUILT_IN):
        _collect(found, Plugin(BUILT_IN, [module]))
    return found


def _collect(found: Catalogue, plugin: Plugin) -> None:
    """Add what a plugin declares, or the reason why it cannot be used."""
    fault, declarations = plugin.fault, []
    try:
        for name, path in plugin.modules:
            if _registers(path):
                source = read(name, path)
                if plugin.origin != BUILT_IN and (missing := missing_imports(source)):
                    raise ImportError(f"{shown(path)} imports {missing[0]!r}, which is not installed")
                declarations += declared(source, plugin.origin)
    except SyntaxError as error:
        fault = fault or f"{shown(Path(error.filename or plugin.origin))}:{error.lineno}: {error.msg}"
    except (ImportError, RegistryError, OSError, ValueError) as error:
        fault = fault or str(error)
    if fault:
        found.failures.append(Failure(plugin.origin, fault))
    for declaration in declarations:
        if not fault or (declaration.kind, declaration.name) in found.declarations:
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


def _plugin(entry: Path) -> Plugin:
    """One entry of `plugins/`: a file, a package, a folder of files, or a pip project.

    Its parent folder goes to the end of `sys.path`, so that its modules have the names that they have when installed.
    """
    root, modules = entry.parent, _module_or_package(entry)
    if entry.is_dir() and any((entry / name).exists() for name in ("pyproject.toml", "setup.py")):
        root = entry / "src" if (entry / "src").is_dir() else entry
        modules = [module for inner in sorted(root.iterdir()) for module in _module_or_package(inner)]
    if str(root) not in sys.path:
        sys.path.append(str(root))
        _added_to_path.append(str(root))
    faults = (_name_fault(head, root) for head in {name.split(".")[0] for name, _ in modules})
    return Plugin(str(shown(entry)), modules, next(filter(None, faults), ""))


def _module_or_package(path: Path) -> list[tuple[str, Path]]:
    if NOT_PLUGIN.match(path.name):
        return []
    return list(_modules(path, path.name)) if path.is_dir() else [(path.stem, path)] if path.suffix == ".py" else []


def _name_fault(head: str, root: Path) -> str:
    """Why importing `head` would not find what lies in `root`; nothing if it would."""
    if not head.isidentifier():
        return f"{head!r} is no module name: use letters, digits and _"
    spec = importlib.util.find_spec(head)
    places = [Path(place) for place in (spec.submodule_search_locations or [spec.origin])] if spec else [Path("nothing")]
    return "" if any(place.is_relative_to(root) for place in places) else f"its name {head!r} is already taken by {places[0]}"


def _installed_plugins() -> Iterator[Plugin]:
    """Plugins that pip has installed."""
    from importlib.metadata import entry_points

    for point in entry_points(group=ENTRY_POINTS):
        origin = f"{point.dist.name} {point.dist.version}" if point.dist else point.name
        path = locate(point.module)
        if path is None:
            yield Plugin(origin, [], f"its entry point {point.name!r} names the module {point.module!r}, which does not exist")
        else:
            package = path.name == "__init__.py"
            yield Plugin(origin, list(_modules(path.parent, point.module)) if package else [(point.module, path)])
