"""What a config can name: components of the package, of `plugins` folders and of installed plugins. Loads no torch."""

from __future__ import annotations

import importlib
import re
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cache
from importlib.util import find_spec
from pathlib import Path

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
    modules: tuple[tuple[str, Path], ...]
    """Name and file of each module that registers something."""
    fault: str = ""
    """Why it cannot be used, as far as that is known without importing it."""


class Catalogue:
    """The components that one config can name.

    A plugin is imported when a name is looked up that it registers; all are, also those installed, when a name is not found.
    """

    def __init__(self, folders: tuple[Path, ...]) -> None:
        self.folders = tuple(dict.fromkeys(folders))
        self._plugins = [plugin for folder in self.folders for plugin in _local_plugins(folder)]
        self._faults: dict[str, str] = {}
        """The plugins that were imported, with the reason why they cannot be used, empty for sound ones."""
        _searched.update(folders)
        for module in KINDS.values():
            importlib.import_module(module)

    def find(self, kind: str, name: str) -> Entry:
        """The component called `name`.

        Raises:
            RegistryError: there is none, or more than one.
        """
        self._load([plugin for plugin in self._plugins if any(_registers(path, name) for _, path in plugin.modules)])
        if not self._visible(kind, name):
            self._load_all()
        found = self._visible(kind, name)
        if not found:
            raise RegistryError("; ".join([f"unknown {kind} type {name!r}{nearest(name, self.names(kind))}", *self.problems()]))
        hidden = [path for plugin in self._plugins if self._faults.get(plugin.origin) for _, path in plugin.modules]
        if clashing := [path for path in hidden if _registers(path, name)] + [entry.file for entry in found][1:]:
            raise RegistryError(_clash(kind, name, [found[0].file, *clashing]))
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
        return {"type"} | {field.name for entry in self._visible(kind) for field in fields(entry.settings)}

    def names(self, kind: str) -> list[str]:
        """The names of one kind, sorted."""
        self._load_all()
        return sorted({entry.name for entry in self._visible(kind)})

    def entries(self) -> list[Entry]:
        """All components, in the order of `KINDS`, then by name."""
        self._load_all()
        return [entry for kind in KINDS for entry in sorted(self._visible(kind), key=lambda entry: entry.name)]

    def problems(self) -> list[str]:
        """Plugins that cannot be used, and names that are taken twice."""
        counted = Counter((entry.kind, entry.name) for entry in self.entries())
        faults = [f"plugin {origin} could not be loaded: {reason}" for origin, reason in self._faults.items() if reason]
        twice = [key for key, count in counted.items() if count > 1]
        return faults + [_clash(*key, [entry.file for entry in self._visible(*key)]) for key in twice]

    def origin(self, entry: Entry) -> str:
        """`threefusion`, the plugin's path, the installed distribution, or the file of running code."""
        if entry.file.is_relative_to(PACKAGE):
            return BUILT_IN
        owners = (plugin.origin for plugin in self._plugins if entry.file in [path for _, path in plugin.modules])
        return next(owners, str(shown(entry.file)))

    def folders_of(self, entries: list[Entry]) -> list[Path]:
        """The plugin folders that components come from."""
        return [folder for folder in self.folders if any(entry.file.is_relative_to(folder) for entry in entries)]

    def _visible(self, kind: str, name: str | None = None) -> list[Entry]:
        found = [entry for entry in ENTRIES.values() if entry.kind == kind and name in (None, entry.name)]
        hidden = _searched - set(self.folders)
        return [entry for entry in found if hidden.isdisjoint(entry.file.parents)] if hidden else found

    def _load(self, plugins: Iterable[Plugin]) -> None:
        for plugin in plugins:
            if plugin.origin not in self._faults:
                self._faults[plugin.origin] = _fault(plugin)

    def _load_all(self) -> None:
        self._plugins += [plugin for plugin in _installed_plugins() if plugin not in self._plugins]
        self._load(self._plugins)


def shown(path: Path) -> Path:
    """`path` relative to the current directory when it lies inside."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def _clash(kind: str, name: str, files: list[Path]) -> str:
    return f"{kind} {name!r} is registered twice: in {' and '.join(str(shown(file)) for file in files)}"


def _registers(path: Path, name: str = "") -> bool:
    """Whether a module registers something, or something called `name`."""
    called = rb"""[^)]*["\']%s["\']""" % re.escape(name.encode()) if name else b""
    return re.search(rb"\b(register|component)\(" + called, path.read_bytes()) is not None


def _fault(plugin: Plugin) -> str:
    """Why a plugin cannot be imported; nothing if it was."""
    if plugin.fault:
        return plugin.fault
    for name, path in plugin.modules:
        try:
            if fault := _name_fault(name.partition(".")[0], path):
                return fault
            importlib.import_module(name)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a plugin that ends the program must not end this one
            for key in [key for key, entry in ENTRIES.items() if entry.file == path]:
                del ENTRIES[key]
            return _reason(error, path)
    return ""


def _reason(error: BaseException, path: Path) -> str:
    if isinstance(error, SyntaxError):
        return f"{shown(Path(error.filename or path))}:{error.lineno}: {error.msg}"
    if isinstance(error, ModuleNotFoundError):
        return f"{shown(path)} imports {error.name!r}, which is not installed"
    return str(error) if isinstance(error, RegistryError) else f"{type(error).__name__}: {error}"


def _name_fault(head: str, path: Path) -> str:
    """Why importing `head` would not lead to the file `path`; nothing if it would."""
    if not head.isidentifier():
        return f"{head!r} is not a module name: use letters, digits and _"
    spec = find_spec(head)
    places = [Path(place) for place in (spec.submodule_search_locations or [spec.origin])] if spec else []
    if any(path.is_relative_to(place) for place in places):
        return ""
    return f"its name {head!r} is already taken by {places[0]}" if places else f"no module {head!r} can be imported"


def _local_plugins(folder: Path) -> list[Plugin]:
    """The entries of a `plugins` folder: files, packages, folders of files, pip projects.

    Their parent folders go to the end of `sys.path`, so that their modules have the names that they have when installed.
    """
    plugins = []
    for entry in sorted(folder.iterdir()):
        is_project = entry.is_dir() and any((entry / name).exists() for name in ("pyproject.toml", "setup.py"))
        root = (entry / "src" if (entry / "src").is_dir() else entry) if is_project else folder
        if found := [module for path in (sorted(root.iterdir()) if is_project else [entry]) for module in _modules(path)]:
            sys.path += [] if str(root) in sys.path else [str(root)]
            plugins.append(Plugin(str(shown(entry)), tuple(found)))
    return plugins


def _modules(path: Path, package: str = "") -> list[tuple[str, Path]]:
    """Name and file of each module at a path that registers something."""
    if NOT_PLUGIN.match(path.name):
        return []
    if path.is_dir() and (package == "" or path.name.isidentifier()):
        return [module for inner in sorted(path.iterdir()) for module in _modules(inner, f"{package}{path.name}.")]
    if path.suffix != ".py" or not _registers(path):
        return []
    return [(package.removesuffix(".") if path.stem == "__init__" else f"{package}{path.stem}", path.resolve())]


@cache
def _installed_plugins() -> list[Plugin]:
    """Plugins that pip has installed."""
    from importlib.metadata import entry_points

    plugins = []
    for point in entry_points(group=ENTRY_POINTS):
        origin = f"{point.dist.name} {point.dist.version}" if point.dist else point.name
        try:
            path = Path(find_spec(point.module).origin)
        except (ImportError, AttributeError, TypeError):
            fault = f"its entry point {point.name!r} names the module {point.module!r}, which does not exist"
            plugins.append(Plugin(origin, (), fault))
            continue
        prefix = f"{point.module.rpartition('.')[0]}.".removeprefix(".")
        plugins.append(Plugin(origin, tuple(_modules(path.parent if path.name == "__init__.py" else path, prefix))))
    return plugins
