"""Imports of optional packages, with the command that installs each."""

from __future__ import annotations

import importlib
from types import ModuleType

from threefusion.errors import UserError

INSTALL = {
    "triton": "python -m pip install triton",
    "ray": "python -m pip install ray",
    "nerfacc": "python -m pip install nerfacc",
    "tinycudann": "python -m pip install git+https://github.com/NVlabs/tiny-cuda-nn/#subdirectory=bindings/torch",
    "nvdiffrast": "python -m pip install --no-build-isolation git+https://github.com/NVlabs/nvdiffrast.git",
}
"""Packages that no run needs and the plain installation leaves out, with the command that installs each."""


class MissingPackageError(UserError):
    """An optional package is required and not installed."""


def require(name: str) -> ModuleType:
    """The imported package `name`.

    Raises:
        MissingPackageError: one sentence that names the package and the command that installs it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        command = INSTALL.get(name, f"python -m pip install {name}")
        raise MissingPackageError(f"{name} is not installed ({error}). Install it with: {command}") from error
