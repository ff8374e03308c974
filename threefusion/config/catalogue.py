"""What a config can name: components of the package, of `plugins` folders and of installed plugins. Loads no torch."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from threefusion.errors import nearest
from threefusion.registry import ENTRIES, KINDS, Entry, RegistryError

ENTRY_POINTS = "threefusion.plugins"
BUILT_IN = "threefusion"
PACKAGE = Path(__file__).parents[1]
NOT_PLUGIN = re.compile(r"(tests|configs|docs|build|dist|__pycache__|setup\.py|conftest\.py|test_.*\.py|\..*|.*\.egg-info)$")
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
    modules: tuple[tuple[str, Path, bytes], ...]
    """Name, file, and the arguments of its registrations, of each module that registers something."""
    fault: str = ""
    """Why it cannot be used, as far as that is known without importing it."""


class Catalogue:
    """The components that one config can name.

    A plugin's module is imported only when it registers the name that is looked for, or when a name is not found. Installed
    plugins are consulted about names that neither the package nor a folder has.
    """

    def __init__(self, folders: tuple[Path, ...]) -> None:
        self.folders = tuple(dict.fromkeys(folders))
        self._plugins: list[Plugin] = []
        self._faults: dict[str, str] = {}
        """Broken plugins, with the reason."""
        self._add(plugin for folder in self.folders for plugin in _local_plugins(folder))
        _searched.update(folders)
        for module in KINDS.values():
            importlib.import_module(module)

    def find(self, kind: str, name: str) -> Entry:
        """The component called `name`.

        Raises:
            RegistryError: there is none, or more than one.
        """
        registers = re.compile(rb"""["']%s["']""" % re.escape(name.encode())).search
        self._load(registers)
        if not self._visible(kind, name):
            self._add(_installed_plugins())
            self._load(registers)
        if not self._visible(kind, name):
            self._load(bool)
        found = self._visible(kind, name)
        if not found:
            raise RegistryError("; ".join([f"unknown {kind} type {name!r}{nearest(name, self.names(kind))}", *self.problems()]))
        unusable = [path for plugin in self._plugins if plugin.fault for _, path, text in plugin.modules if registers(text)]
        if len(found) + len(unusable) > 1:
            raise RegistryError(_clash(kind, name, [*(entry.file for entry in found), *unusable]))
        return found[0]

    def has(self, kind: str, name: str) -> bool:
        """Whether there is a component called `name`."""
        try:
            return bool(self.find(kind, name))
        except RegistryError:
            return False

    def fields(self, kind: str, name: str) -> set[str]:
        """`type` and the fields of the components of a kind that are loaded, those of `name` among them."""
        if name:
            self.has(kind, name)
        return {"type"} | {field.name for entry in self._visible(kind) for field in dataclasses.fields(entry.settings)}

    def names(self, kind: str) -> list[str]:
        """The names of one kind, sorted."""
        return sorted({entry.name for entry in self.entries() if entry.kind == kind})

    def entries(self) -> list[Entry]:
        """All components, in the order of `KINDS`, then by name."""
        self._add(_installed_plugins())
        self._load(bool)
        return [entry for kind in KINDS for entry in sorted(self._visible(kind), key=lambda entry: entry.name)]

    def problems(self) -> list[str]:
        """Plugins that cannot be used, and names that are taken twice."""
        counted = Counter((entry.kind, entry.name) for entry in self.entries())
        faults = [f"plugin {origin} could not be loaded: {reason}" for origin, reason in self._faults.items()]
        twice = [key for key, count in counted.items() if count > 1]
        return faults + [_clash(*key, [entry.file for entry in self._visible(*key)]) for key in twice]

    def origin(self, entry: Entry) -> str:
        """`threefusion`, the plugin's path, the installed distribution, or the file of running code."""
        if entry.file.is_relative_to(PACKAGE):
            return BUILT_IN
        owners = (plugin.origin for plugin in self._plugins if entry.file in [path for _, path, _ in plugin.modules])
        return next(owners, str(shown(entry.file)))

    def folders_of(self, entries: list[Entry]) -> list[Path]:
        """The plugin folders that components come from."""
        return [folder for folder in self.folders if any(entry.file.is_relative_to(folder) for entry in entries)]

    def _visible(self, kind: str, name: str | None = None) -> list[Entry]:
        found = [entry for entry in ENTRIES.values() if entry.kind == kind and name in (None, entry.name)]
        hidden = _searched - set(self.folders)
        return [entry for entry in found if not any(entry.file.is_relative_to(folder) for folder in hidden)]

    def _add(self, plugins: Iterable[Plugin]) -> None:
        new = [plugin for plugin in plugins if plugin not in self._plugins]
        self._plugins += new
        self._faults |= {plugin.origin: plugin.fault for plugin in new if plugin.fault}

    def _load(self, wanted: Callable[[bytes], object]) -> None:
        """Import the modules of sound plugins whose registrations are wanted."""
        for plugin in self._plugins:
            for name, path, declared in () if plugin.origin in self._faults else plugin.modules:
                if name not in sys.modules and wanted(declared) and (fault := _import_fault(name, path)):
                    self._faults[plugin.origin] = fault
                    for key in [key for key, entry in ENTRIES.items() if entry.file == path]:
                        del ENTRIES[key]
                    break


def shown(path: Path) -> Path:
    """`path` relative to the current directory when it lies inside."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _clash(kind: str, name: str, files: list[Path]) -> str:
    return f"{kind} {name!r} is registered twice: in {' and '.join(str(shown(file)) for file in files)}"


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
    except BaseException as error:  # a plugin that ends the program must not end this one
        return str(error) if isinstance(error, RegistryError) else f"{type(error).__name__}: {error}"
    return ""


def _local_plugins(folder: Path) -> Iterator[Plugin]:
    """The entries of a `plugins` folder: files, packages, folders of files, pip projects.

    Their parent folders go to the end of `sys.path`, so that their modules have the names that they have when installed.
    """
    for entry in sorted(folder.iterdir()):
        is_project = entry.is_dir() and any((entry / name).exists() for name in ("pyproject.toml", "setup.py"))
        root = (entry / "src" if (entry / "src").is_dir() else entry) if is_project else folder
        found = [module for path in (sorted(root.iterdir()) if is_project else [entry]) for module in _modules(path, "")]
        if found and str(root) not in sys.path:
            sys.path.append(str(root))
        if found:
            faults = (_name_fault(head, root) for head in {name.split(".")[0] for name, _, _ in found})
            yield Plugin(str(shown(entry)), tuple(m for m in found if m[2]), next(filter(None, faults), ""))


def _modules(path: Path, package: str) -> Iterator[tuple[str, Path, bytes]]:
    """The modules at a path: name, file, arguments of registrations."""
    if NOT_PLUGIN.match(path.name):
        return
    if path.is_dir() and (package == "" or path.name.isidentifier()):
        for inner in sorted(path.iterdir()):
            yield from _modules(inner, f"{package}{path.name}.")
    elif path.suffix == ".py":
        declared = b" ".join(re.findall(rb"\b(?:register|component)(\([^)]*)", path.read_bytes()))
        yield package.removesuffix(".") if path.stem == "__init__" else f"{package}{path.stem}", path.resolve(), declared


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
    prefix = point.module.rpartition(".")[0]
    found = _modules(path.parent if path.name == "__init__.py" else path, f"{prefix}." if prefix else "")
    return Plugin(origin, tuple(module for module in found if module[2]))
