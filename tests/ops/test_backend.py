import pytest
import torch

from threefusion.errors import UserError
from threefusion.ops import backend as module
from threefusion.ops.backend import VARIABLE, backend, choose_backend, chosen_backend, kernels

CPU = torch.device("cpu")


def test_auto_picks_by_device():
    assert kernels("grid", CPU).__name__ == "threefusion.ops.numba_kernels.grid"
    assert kernels("grid", torch.device("mps")).__name__ == "threefusion.ops.torch_kernels.grid"


def test_auto_falls_back_to_torch_where_numba_is_missing(monkeypatch):
    monkeypatch.setattr(module, "installed", lambda package: False)
    assert kernels("grid", CPU).__name__ == "threefusion.ops.torch_kernels.grid"


def test_the_context_manager_restores_the_backend():
    with backend("torch"):
        assert kernels("grid", CPU).__name__ == "threefusion.ops.torch_kernels.grid"
        with backend("numba"):
            assert chosen_backend() == "numba"
        assert chosen_backend() == "torch"
    assert chosen_backend() == "auto"


def test_the_environment_variable_overrides_auto(monkeypatch):
    monkeypatch.setenv(VARIABLE, "torch")
    assert kernels("grid", CPU).__name__ == "threefusion.ops.torch_kernels.grid"
    with backend("numba"):
        assert chosen_backend() == "numba"
    monkeypatch.setenv(VARIABLE, "troch")
    with pytest.raises(UserError, match=r"'troch' is not one of .* Did you mean 'torch'\?"):
        kernels("grid", CPU)


def test_a_missing_package_is_reported_with_its_install_command(monkeypatch):
    monkeypatch.setattr(module, "installed", lambda package: False)
    with pytest.raises(UserError, match=r"'numba' needs a package that is not installed. Install it with: python -m pip install"):
        choose_backend("numba")
    assert chosen_backend() == "auto"


def test_a_backend_of_another_device_is_refused(monkeypatch):
    monkeypatch.setattr(module, "installed", lambda package: True)
    with backend("triton"), pytest.raises(UserError, match="'triton' runs on cuda, but this run is on cpu"):
        kernels("grid", CPU)
    # operations that the backend lacks run in torch on any device: an exporter rasterizes on the CPU
    with backend("triton"):
        assert kernels("rasterize", CPU).__name__ == "threefusion.ops.torch_kernels.rasterize"


def test_auto_never_selects_an_adapter(monkeypatch):
    monkeypatch.setattr(module, "installed", lambda package: True)
    cuda = torch.device("cuda")
    with backend("tinycudann"):
        assert kernels("grid", cuda).__name__ == "threefusion.ops.adapters.tinycudann"
    with backend("nerfacc"):
        assert kernels("composite", cuda).__name__ == "threefusion.ops.adapters.nerfacc"
        assert kernels("grid", cuda).__name__ == "threefusion.ops.torch_kernels.grid"
