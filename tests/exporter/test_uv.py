"""Every unwrapping method gives coordinates that cover the texture without overlap."""

import time

import pytest
import torch
from analytic_scenes import box
from test_topology import CUBE, ball

from threefusion.exporter import uv as uv_module
from threefusion.exporter.uv import unwrap
from threefusion.geometry.isosurface import marching_cubes, sample_density
from threefusion.geometry.normals import vertex_normals
from threefusion.messages import Noted
from threefusion.types import Mesh

SIZE = 256


def with_normals(mesh: Mesh) -> Mesh:
    return Mesh(mesh.vertices, mesh.faces, vertex_normals(mesh))


def times_covered(mesh: Mesh) -> torch.Tensor:
    """How many triangles each texel's centre is strictly inside of, by a double loop over triangles and their texels."""
    count = torch.zeros(SIZE, SIZE, dtype=torch.int64)
    for corner in (mesh.uv[mesh.faces].double() * SIZE).unbind(0):
        low, high = (corner.amin(0) - 0.5).ceil().long().clamp_min(0), (corner.amax(0) - 0.5).floor().long().clamp_max(SIZE - 1)
        x, y = torch.meshgrid(torch.arange(low[0], high[0] + 1), torch.arange(low[1], high[1] + 1), indexing="xy")
        center = torch.stack([x, y], -1) + 0.5
        ahead, away = corner.roll(-1, 0) - corner, center[..., None, :] - corner
        side = ahead[:, 0] * away[..., 1] - ahead[:, 1] * away[..., 0]
        count[y, x] += ((side > 1e-6).all(-1) | (side < -1e-6).all(-1)).long()
    return count


def use_only(monkeypatch, method: str) -> None:
    """Make the methods before `method` fail."""

    def refuse(*_):
        raise uv_module.UnwrapError("not today")

    order = ["_uvunwrap", "_two_faces_per_chart"]
    for earlier in order[: order.index(method)]:
        monkeypatch.setattr(uv_module, earlier, refuse)


SHAPES = {
    "cube": lambda: CUBE,
    "ball": lambda: ball(16),
    "plate": lambda: marching_cubes(sample_density(lambda p: torch.exp(-20 * box(0.6, 0.4, 0.08)(p)), 1.0, 24), 1.0),
}


@pytest.mark.parametrize("method", ["_uvunwrap", "_two_faces_per_chart"])
@pytest.mark.parametrize("shape", SHAPES)
def test_charts_do_not_overlap(monkeypatch, method, shape):
    use_only(monkeypatch, method)
    mesh = with_normals(SHAPES[shape]())
    result = unwrap(mesh, SIZE)
    assert result.uv.min() >= 0
    assert result.uv.max() <= 1
    covered = times_covered(result)
    assert covered.max() == 1
    assert covered.float().mean() > 0.25


@pytest.mark.parametrize("method", ["_uvunwrap", "_two_faces_per_chart"])
def test_splitting_moves_no_corner(monkeypatch, method):
    use_only(monkeypatch, method)
    mesh = with_normals(ball(16))
    result = unwrap(mesh, SIZE)
    assert torch.equal(result.vertices[result.faces], mesh.vertices[mesh.faces])
    assert torch.equal(result.normals[result.faces], mesh.normals[mesh.faces])


def test_uvunwrap_is_stopped_after_the_time_it_was_given(heard):
    began = time.monotonic()
    result = unwrap(with_normals(ball(96)), SIZE, seconds=0.01)
    assert result.uv is not None and len(result.vertices) == 3 * len(result.faces)
    assert "could not unwrap the mesh (it was stopped after 0.01 s, see exporter.unwrap_seconds): every two" in str(heard)
    assert time.monotonic() - began < 10


PANIC = """thread '<unnamed>' panicked at src/chart.rs:77:9:
index out of bounds: the len is 3 but the index is 7
stack backtrace:
   0: std::panicking::begin_panic
   1: uvunwrap::chart
"""
ENDS = {
    "panic": (f"import sys; sys.exit({PANIC!r})", "index out of bounds: the len is 3 but the index is 7"),
    "exception": ("raise ValueError('16 pages')", "ValueError: 16 pages"),
    "segfault": ("import os; os.kill(os.getpid(), 11)", "killed by SIGSEGV"),
    "silence": ("raise SystemExit(3)", "exit code 3"),
    "hang": ("import time; time.sleep(1000)", "it was stopped after 3 s, see exporter.unwrap_seconds"),
}


@pytest.mark.parametrize("end", ENDS)
def test_however_uvunwrap_ends_there_is_one_line_and_a_texture(monkeypatch, heard, capfd, tmp_path, end):
    program, reason = ENDS[end]
    (tmp_path / "program.py").write_text(program)
    monkeypatch.setattr(uv_module, "PROGRAM", tmp_path / "program.py")
    result = unwrap(with_normals(CUBE), SIZE, seconds=3.0 if end == "hang" else 60.0)
    assert times_covered(result).max() == 1
    assert heard == [Noted(f"uvunwrap could not unwrap the mesh ({reason}): every two faces get a chart")]
    assert capfd.readouterr() == ("", "")
