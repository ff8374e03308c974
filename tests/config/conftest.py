import shutil
import sys
from pathlib import Path

import pytest

from threefusion.config import catalogue

DATA = Path(__file__).parent / "data"


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """An empty current directory with the zoo plugin and base.yaml, and no plugins but its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(catalogue, "_installed_plugins", lambda: [])
    shutil.copytree(DATA, tmp_path, dirs_exist_ok=True)
    yield tmp_path
    for name in [name for name, module in sys.modules.items() if str(tmp_path) in str(getattr(module, "__file__", ""))]:
        del sys.modules[name]
