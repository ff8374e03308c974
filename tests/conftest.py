"""Process settings that the launcher makes for users and that tests need before torch is imported; the tiny run."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# one worker per core: more threads would only get into each other's way
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture
def tiny() -> Path:
    """A config small enough for whole runs in tests."""
    return Path(__file__).parent / "tiny.yaml"


def pytest_collection_modifyitems(items):
    """Tests marked `gpu` are skipped where torch sees none."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if marked:
        import torch

        if not torch.cuda.is_available():
            for item in marked:
                item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
