"""nvdiffrast as a source of ids: with a stub of the package, and itself on a GPU."""

import sys
from types import ModuleType

import pytest
import torch

from threefusion.errors import UserError
from threefusion.ops import backend as module
from threefusion.ops.adapters import nvdiffrast
from threefusion.ops.backend import backend, choose_backend, installed
from threefusion.ops.rasterize import rasterize
from threefusion.ops.torch_kernels import rasterize as reference

CLIP = torch.tensor([[[-1.0, -1, 0, 1], [1, -1, 0, 1], [-1, 1, 0, 1], [1, 1, 0.5, 1]]])
FACES = torch.tensor([[0, 2, 1], [1, 3, 2], [0, 1, 2]])


def test_a_missing_nvdiffrast_is_reported_with_its_install_command(monkeypatch):
    monkeypatch.setattr(module, "installed", lambda package: False)
    with pytest.raises(
        UserError, match=r"'nvdiffrast' needs a package .* pip install --no-build-isolation git\+https://github.com"
    ):
        choose_backend("nvdiffrast")


@pytest.mark.parametrize("cull", [False, True])
def test_ids_of_nvdiffrast_are_ours(monkeypatch, cull):
    def rasterize(context, pos, tri, resolution, grad_db):
        assert (pos.dtype, tri.dtype, grad_db) == (torch.float32, torch.int32, False)
        face = reference.nearest_face(pos.double(), tri.long(), *resolution, False)
        return torch.cat([torch.zeros(*face.shape, 3), (face.flip(1) + 1.0)[..., None]], -1), None

    stub = ModuleType("nvdiffrast.torch")
    stub.rasterize, stub.RasterizeCudaContext = rasterize, lambda device: None
    monkeypatch.setitem(sys.modules, "nvdiffrast", ModuleType("nvdiffrast"))
    monkeypatch.setitem(sys.modules, "nvdiffrast.torch", stub)
    ours = reference.nearest_face(CLIP.double(), FACES, 6, 8, cull)
    assert torch.equal(nvdiffrast.nearest_face(CLIP.double(), FACES, 6, 8, cull), ours)
    assert set(ours.unique().tolist()) == ({1, 2} if cull else {0, 1})


@pytest.mark.gpu
def test_nvdiffrast_on_a_gpu():
    if not installed("nvdiffrast"):
        pytest.skip("nvdiffrast is not installed")
    with backend("nvdiffrast"):
        seen = rasterize(CLIP.cuda(), FACES.cuda(), 64, 64).face.cpu()
    assert (seen == reference.nearest_face(CLIP.double(), FACES, 64, 64, False)).float().mean() > 0.97
