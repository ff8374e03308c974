import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from threefusion.config import catalogue

DATA = Path(__file__).parent / "data"


@contextmanager
def zoo(folder):
    """Make `folder`, with the zoo plugin and base.yaml, the current directory; at the end none of its modules is left."""
    shutil.copytree(DATA, folder, dirs_exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "path", list(sys.path))
        patch.setattr(catalogue, "_installed_plugins", lambda: [])
        yield folder
    for name in [name for name, module in sys.modules.items() if str(folder) in str(getattr(module, "__file__", ""))]:
        del sys.modules[name]


@pytest.fixture
def workplace(tmp_path):
    """An empty current directory with the zoo plugin and base.yaml, and no plugins but its own."""
    with zoo(tmp_path) as folder:
        yield folder


@pytest.fixture(scope="module")
def shared_workplace(tmp_path_factory):
    """The same, one for all tests of a module."""
    with zoo(tmp_path_factory.mktemp("shared")) as folder:
        yield folder
