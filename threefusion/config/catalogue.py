"""What a config can name: components of the package, of `plugins` folders and of installed plugins. Loads no torch."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from threefusion import registry
from threefusion.errors import nearest
from threefusion.registry import KINDS, Entry, RegistryError, entry_of

ENTRY_POINTS = "threefusion.plugins"
BUILT_IN = "threefusion"
PACKAGE = Path(__file__).parents[1]
_searched: set[Path] = set()
"""Every plugin folder searched so far: what is declared there is seen only by configs that search it too."""


def settings_class(kind: str, name: str) -> type:
    """The settings class of a component of the package, of `plugins/` in the current directory, or of an installed plugin.

    Raises:
        RegistryError: no such component.
    """
    return Catalogue(plugin_folders()).find(kind, name).settings


def plugin_folders(config: Path | None = None) -> tuple[Path, ...]:
    """The folders called `plugins`: the nearest one above a config file, and that of the current directory."""
    above = [parent / "plugins" for parent in config.resolve().parents] if config else []
    nearest_above = next((folder for folder in above if folder.is_dir()), None)
    return tuple(dict.fromkeys(f.resolve() for f in (nearest_above, Path("plugins")) if f is not None and f.is_dir()))


@dataclass(frozen=True)
class Plugin:
    """Modules that come together."""

    origin: str
    """Its path, or the installed distribution."""
    modules: tuple[tuple[str, Path], ...]
    """Name and file of each module that registers something."""
    fault: str = ""
    """Why it cannot be used, as far as that is known without importing it."""


class Catalogue:
    """The components that one config can name: those of the package, of its plugin folders and of installed plugins.

    A plugin's module is imported only when its text registers the name that is looked for, or when a name is not found.
    """

    def __init__(self, folders: tuple[Path, ...]) -> None:
        self.folders = folders
        self.faults: dict[str, str] = {}
        """Broken plugins, with the reason."""
        self._plugins = [*(plugin for folder in folders for plugin in _local_plugins(folder)), *_installed_plugins()]
        self.faults |= {plugin.origin: plugin.fault for plugin in self._plugins if plugin.fault}
        _searched.update(folders)

    def find(self, kind: str, name: str) -> Entry:
        """The component called `name`.

        Raises:
            RegistryError: there is none, or more than one.
        """
        importlib.import_module(KINDS[kind])
        mentions = re.compile(rb"\b(register|component)\([^)]*[\"']%b[\"']" % re.escape(name.encode())).search
        self._load(mentions)
        found = self._visible(kind, name)
        if not found:
            self.load_all()
            found = self._visible(kind, name)
        rivals = [path for plugin in self._plugins if plugin.fault for _, path in plugin.modules if mentions(_text(path))]
        if len(found) > 1 or (found and rivals):
            raise RegistryError(self._clash(kind, name, rivals))
        if not found:
            raise RegistryError("; ".join([f"unknown {kind} type {name!r}{nearest(name, self.names(kind))}", *self.problems()]))
        return found[0]

    def has(self, kind: str, name: str) -> bool:
        """Whether there is a component called `name`."""
        try:
            return bool(self.find(kind, name))
        except RegistryError:
            return False

    def fields(self, kind: str) -> set[str]:
        """The fields of all components of a kind whose settings are loaded, and `type`."""
        importlib.import_module(KINDS[kind])
        return {"type"} | {field.name for entry in self._visible(kind) for field in dataclasses.fields(entry.settings)}

    def names(self, kind: str) -> list[str]:
        """The names of one kind, sorted."""
        self.load_all()
        importlib.import_module(KINDS[kind])
        return sorted({entry.name for entry in self._visible(kind)})

    def entries(self) -> list[Entry]:
        """All components, in the order of `KINDS`, then by name."""
        self.load_all()
        for module in KINDS.values():
            importlib.import_module(module)
        return [entry for kind in KINDS for entry in sorted(self._visible(kind), key=lambda entry: entry.name)]

    def problems(self) -> list[str]:
        """Plugins that cannot be used, and why."""
        counted = Counter((entry.kind, entry.name) for entry in self.entries())
        faults = [f"plugin {origin} could not be loaded: {reason}" for origin, reason in self.faults.items()]
        return faults + [self._clash(*key, []) for key, count in counted.items() if count > 1]

    def _clash(self, kind: str, name: str, rivals: list[Path]) -> str:
        places = " and ".join(str(shown(file)) for file in [*(entry.file for entry in self._visible(kind, name)), *rivals])
        return f"{kind} {name!r} is registered twice: in {places}"

    def load_all(self) -> None:
        """Import every plugin."""
        self._load(lambda text: True)

    def origin(self, entry: Entry) -> str:
        """`threefusion`, the plugin's path, the installed distribution, or the file of running code."""
        if entry.file.is_relative_to(PACKAGE):
            return BUILT_IN
        owners = (plugin.origin for plugin in self._plugins if entry.file in [path for _, path in plugin.modules])
        return next(owners, str(shown(entry.file)))

    def folder_of(self, settings: object) -> Path | None:
        """The plugin folder that a component comes from; None for those of the package, installed plugins and running code."""
        file = entry_of(settings).file
        return next((folder for folder in self.folders if file.is_relative_to(folder)), None)

    def _visible(self, kind: str, name: str | None = None) -> list[Entry]:
        found = [entry for entry in registry.entries.values() if entry.kind == kind and name in (None, entry.name)]
        hidden = _searched - set(self.folders)
        return [entry for entry in found if not any(entry.file.is_relative_to(folder) for folder in hidden)]

    def _load(self, wanted: Callable[[bytes], object]) -> None:
        """Import the modules of sound plugins whose text is wanted."""
        for plugin in self._plugins:
            for name, path in () if plugin.origin in self.faults else plugin.modules:
                if name not in sys.modules and wanted(_text(path)) and (fault := _import_fault(name, path)):
                    self.faults[plugin.origin] = fault
                    for key in [key for key, entry in registry.entries.items() if entry.file == path]:
                        del registry.entries[key]
                    break


def shown(path: Path) -> Path:
    """`path` relative to the current directory when it lies inside."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _text(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _import_fault(name: str, path: Path) -> str:
    """Why a module cannot be imported; nothing if it was."""
    try:
        importlib.import_module(name)
    except KeyboardInterrupt:
        raise
    except SyntaxError as error:
        return f"{shown(Path(error.filename or path))}:{error.lineno}: {error.msg}"
    except ModuleNotFoundError as error:
        return f"{shown(path)} imports {error.name!r}, which is not installed"
    except RegistryError as error:
        return str(error)
    except BaseException as error:  # a plugin that ends the program must not end this one
        return f"{type(error).__name__}: {error}"
    return ""


NOT_PLUGIN = re.compile(r"(tests|configs|docs|build|dist|__pycache__|setup\.py|conftest\.py|test_.*\.py|\..*|.*\.egg-info)$")


def _local_plugins(folder: Path) -> Iterator[Plugin]:
    """The entries of a `plugins` folder: files, packages, folders of files, pip projects.

    Their parent folders go to the end of `sys.path`, so that their modules have the names that they have when installed.
    """
    for entry in sorted(folder.iterdir()):
        root, found = folder, _module_or_package(entry)
        if entry.is_dir() and any((entry / name).exists() for name in ("pyproject.toml", "setup.py")):
            root = entry / "src" if (entry / "src").is_dir() else entry
            found = [module for inner in sorted(root.iterdir()) for module in _module_or_package(inner)]
        if not found:
            continue
        if str(root) not in sys.path:
            sys.path.append(str(root))
        faults = (_name_fault(head, root) for head in {name.split(".")[0] for name, _ in found})
        yield Plugin(str(shown(entry)), _registering(found), next(filter(None, faults), ""))


def _module_or_package(path: Path) -> list[tuple[str, Path]]:
    if NOT_PLUGIN.match(path.name):
        return []
    return list(_modules(path, path.name)) if path.is_dir() else [(path.stem, path)] if path.suffix == ".py" else []


def _modules(folder: Path, package: str) -> Iterator[tuple[str, Path]]:
    """Every module under a package's folder."""
    for path in sorted(folder.iterdir()):
        if NOT_PLUGIN.match(path.name):
            continue
        if path.is_dir() and path.name.isidentifier():
            yield from _modules(path, f"{package}.{path.name}")
        elif path.suffix == ".py":
            yield (package if path.stem == "__init__" else f"{package}.{path.stem}"), path


def _registering(modules: list[tuple[str, Path]]) -> tuple[tuple[str, Path], ...]:
    return tuple((name, path.resolve()) for name, path in modules if re.search(rb"\b(register|component)\(", _text(path)))


def _name_fault(head: str, root: Path) -> str:
    """Why importing `head` would not find what lies in `root`; nothing if it would."""
    if not head.isidentifier():
        return f"{head!r} is not a module name: use letters, digits and _"
    spec = importlib.util.find_spec(head)
    places = [Path(place) for place in (spec.submodule_search_locations or [spec.origin])] if spec else [Path("nothing")]
    return "" if any(place.is_relative_to(root) for place in places) else f"its name {head!r} is already taken by {places[0]}"


@cache
def _installed_plugins() -> tuple[Plugin, ...]:
    """Plugins that pip has installed."""
    from importlib.metadata import entry_points

    return tuple(_installed_plugin(point) for point in entry_points(group=ENTRY_POINTS))


def _installed_plugin(point: Any) -> Plugin:
    origin = f"{point.dist.name} {point.dist.version}" if point.dist else point.name
    try:
        spec = importlib.util.find_spec(point.module)
    except ImportError:
        spec = None
    if spec is None or spec.origin is None:
        return Plugin(origin, (), f"its entry point {point.name!r} names the module {point.module!r}, which does not exist")
    path = Path(spec.origin)
    found = list(_modules(path.parent, point.module)) if path.name == "__init__.py" else [(point.module, path)]
    return Plugin(origin, _registering(found))
