"""Stand-ins for packages that Lightning imports and a run hardly uses: they are loaded when more of them is needed.

Importing Lightning loads torch's compiler, and with torchmetrics most of scipy and transformers: three quarters of its time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from threading import RLock
from types import ModuleType
from typing import Any, TypeVar

Function = TypeVar("Function", bound=Callable[..., Any])


class NoInstances(type):
    """The type of a class that has no instance as long as the compiler is not loaded."""

    def __instancecheck__(cls, instance: object) -> bool:
        dynamo = sys.modules["torch._dynamo"]
        return not isinstance(dynamo, StandIn) and isinstance(instance, dynamo.OptimizedModule)


class OptimizedModule(metaclass=NoInstances):
    """For `isinstance`: what `torch.compile` makes of a module."""


_uncompiled: list[Any] = []


def disable(fn: Function | None = None, recursive: bool = True, **options: Any) -> Function | Callable[[Function], Function]:
    """`fn` as it is: nothing is compiled yet."""
    if fn is None:
        return disable
    _uncompiled.append(fn)
    return fn


def graph_break(msg: str = "") -> None:
    """Nothing: nothing is compiled yet."""


def allow_in_graph(fn: Function) -> Function:
    """`fn` as it is: nothing is compiled yet."""
    return fn


def forget_uncompiled() -> None:
    """Torch keeps what `disable` returned; the compiler, once it is loaded, is to be asked again."""
    for fn in _uncompiled:
        vars(fn).pop("__dynamo_disable", None)
    _uncompiled.clear()


KNOWN: dict[str, dict[str, Any]] = {
    "torch._dynamo": {
        "disable": disable,
        "graph_break": graph_break,
        "allow_in_graph": allow_in_graph,
        "OptimizedModule": OptimizedModule,
    },
    "torchmetrics": {},
}
"""Packages, and what their stand-ins have."""
ELSEWHERE = {
    "torchmetrics": {
        # its utilities import metrics, and metrics the utilities
        "Metric": "torchmetrics.utilities.checks",
        "MetricCollection": "torchmetrics.collections",
        "__version__": "torchmetrics.__about__",
    }
}
"""Modules of a package that can be loaded without the rest of it, by the names that they define."""
WHOLE = ("torch._dynamo",)
"""Packages whose modules cannot be loaded without the rest."""


class StandIn(ModuleType):
    """A package that is not loaded yet."""

    def __getattr__(self, name: str) -> Any:
        """What is known without loading the package, else what the package has."""
        if name in ELSEWHERE.get(self.__name__, {}):
            value = getattr(import_module(ELSEWHERE[self.__name__][name]), name)
        elif name.startswith("__"):  # asked for by the import system
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        else:
            load(self)
            return getattr(self, name)
        vars(self)[name] = value
        return value


_loading = RLock()


def load(module: ModuleType) -> None:
    """Make a stand-in the package itself."""
    with _loading:
        if not isinstance(module, StandIn):
            return
        for name in KNOWN[module.__name__]:
            vars(module).pop(name, None)
        module.__class__ = ModuleType
        module.__spec__.loader.real.exec_module(module)
        if module.__name__ == "torch._dynamo":
            forget_uncompiled()


class Importer(MetaPathFinder):
    """Puts stand-ins in the place of the packages in `KNOWN`, and loads a package whole before a module that needs that."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """The package's own specification with another loader; None for all other modules."""
        package = next((whole for whole in WHOLE if name.startswith(f"{whole}.")), None)
        if package is not None and isinstance(sys.modules.get(package), StandIn):
            load(sys.modules[package])
            if name in sys.modules:
                return ModuleSpec(name, Loaded(sys.modules[name]))
        if name not in KNOWN:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        spec = next((spec for finder in others if (spec := finder.find_spec(name, path, target))), None)
        if spec is not None:
            spec.loader = StandInLoader(spec.loader)
        return spec


class StandInLoader(Loader):
    """Creates a stand-in for what the loader `real` would load."""

    def __init__(self, real: Loader) -> None:
        self.real = real

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The stand-in."""
        return StandIn(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Give it what it has."""
        vars(module).update(KNOWN[module.__name__])
        if module.__name__ == "torchmetrics":
            import logging

            module._logger = logging.getLogger("torchmetrics")


class Loaded(Loader):
    """For a module that was loaded while it was looked for."""

    def __init__(self, module: ModuleType) -> None:
        self.module, self.spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module."""
        return self.module

    def exec_module(self, module: ModuleType) -> None:
        """Undo what the import system has changed."""
        module.__spec__ = self.spec


def use_stand_ins() -> None:
    """From now on; packages that are loaded already stay."""
    if not any(isinstance(finder, Importer) for finder in sys.meta_path):
        sys.meta_path.insert(0, Importer())
