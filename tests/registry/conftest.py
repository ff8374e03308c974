import sys

import pytest

from threefusion import discovery, registry


@pytest.fixture
def plugins(tmp_path, monkeypatch):
    """An empty `plugins` folder of an empty current directory; everything it brings in is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(discovery, "_installed_plugins", lambda: [])
    loaded = set(sys.modules)
    discovery.refresh()
    (tmp_path / "plugins").mkdir()
    yield tmp_path / "plugins"
    discovery.refresh()
    for key, entry in list(registry._entries.items()):
        if not entry.origin.startswith("threefusion"):
            del registry._entries[key]
    for name in set(sys.modules) - loaded:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]
