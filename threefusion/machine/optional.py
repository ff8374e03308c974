"""Imports of optional packages, with the command that installs each."""

from __future__ import annotations

import importlib
from types import ModuleType

from threefusion.errors import UserError

INSTALL = {
    "triton": "python -m pip install triton",
    "openvino": "python -m pip install openvino  # or 'threefusion[fast]'",
    "ray": "python -m pip install ray",
    "viser": "python -m pip install 'viser>=1.1,<2'  # or 'threefusion[view]'",
    "nerfacc": "python -m pip install nerfacc",
    "tinycudann": "python -m pip install git+https://github.com/NVlabs/tiny-cuda-nn/#subdirectory=bindings/torch",
    "lib3mf": "python -m pip install lib3mf",
    "usd-core": "python -m pip install usd-core",
    "nvdiffrast": "python -m pip install --no-build-isolation git+https://github.com/NVlabs/nvdiffrast.git",
}
"""Packages that no run needs and the plain installation leaves out, with the command that installs each."""


class MissingPackageError(UserError):
    """An optional package is required and not installed."""


def require(name: str, distribution: str | None = None) -> ModuleType:
    """The imported package `name`; a `distribution` of another name installs it.

    Raises:
        MissingPackageError: one sentence that names the package and the command that installs it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = distribution or name
        command = INSTALL.get(package, f"python -m pip install {package}")
        raise MissingPackageError(f"{package} is not installed ({error}). Install it with: {command}") from error
