import sys

import pytest

from threefusion import registry
from threefusion.config import catalogue


@pytest.fixture
def plugins(tmp_path, monkeypatch):
    """An empty `plugins` folder of an empty current directory; everything it brings in is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(catalogue, "_installed_plugins", lambda: [])
    loaded, declared = set(sys.modules), dict(registry.ENTRIES)
    (tmp_path / "plugins").mkdir()
    yield tmp_path / "plugins"
    for key, entry in list(registry.ENTRIES.items()):
        if key not in declared and not entry.settings.__module__.startswith("threefusion."):
            del registry.ENTRIES[key]
    for name in set(sys.modules) - loaded:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
