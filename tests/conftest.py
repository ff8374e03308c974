"""Process settings that the launcher makes for users and that tests need before torch is imported; fuzzing; the tiny run."""

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# one worker per core: more threads would only get into each other's way
os.environ.setdefault("OMP_NUM_THREADS", "1")

# HYPOTHESIS_PROFILE=full is the long search; `ci`, the default, repeats the same short one
_common = {"deadline": None, "suppress_health_check": list(HealthCheck), "print_blob": True}
settings.register_profile("ci", max_examples=100, derandomize=True, database=None, **_common)
settings.register_profile("full", max_examples=5_000, **_common)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


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
