"""The rasterizer against a loop over pixels and faces, and against closed forms."""

import pytest
import torch

from threefusion.ops.backend import backend
from threefusion.ops.rasterize import barycentrics, interpolate, rasterize, rasterize_plane
from threefusion.ops.torch_kernels import rasterize as reference


def naive(clip, faces, height, width, cull=False):
    """Naive version: every pixel tests every face, in double precision."""
    out = torch.full((len(clip), height, width), -1)
    for b, view in enumerate(clip.double()):
        ndc = view[:, :3] / view[:, 3:]
        for row in range(height):
            for column in range(width):
                x, y = (2 * column + 1) / width - 1, 1 - (2 * row + 1) / height
                best = 2.0
                for f, (i, j, k) in enumerate(faces.tolist()):
                    if min(view[i, 3], view[j, 3], view[k, 3]) <= 0:
                        continue
                    a, p, q = ndc[i], ndc[j], ndc[k]
                    area = (p[0] - a[0]) * (q[1] - a[1]) - (p[1] - a[1]) * (q[0] - a[0])
                    if area == 0 or (cull and area < 0):
                        continue
                    weights = [((v[0] - x) * (w[1] - y) - (v[1] - y) * (w[0] - x)) / area for v, w in ((p, q), (q, a), (a, p))]
                    depth = sum(w * c[2] for w, c in zip(weights, (a, p, q), strict=True))
                    if min(weights) >= 0 and abs(depth) <= 1 and depth < best:
                        best, out[b, row, column] = depth, f
    return out


def random_scene(seed=0, views=2, vertices=18, count=12):
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(views, vertices, 3, generator=generator) * 2.4 - 1.2
    w = 0.6 + torch.rand(views, vertices, 1, generator=generator)
    faces = torch.stack([torch.randperm(vertices, generator=generator)[:3] for _ in range(count)])
    return torch.cat([points * w, w], -1), faces


@pytest.mark.parametrize("cull", [False, True])
def test_agrees_with_the_naive_loop(cull):
    clip, faces = random_scene()
    clip[0, 3, 3] = -0.5
    fragments = rasterize(clip, faces, 11, 14, cull)
    assert torch.equal(fragments.face, naive(clip, faces, 11, 14, cull))


def test_chunks_do_not_change_the_result(monkeypatch):
    clip, faces = random_scene(1)
    with backend("torch"):
        whole = rasterize(clip, faces, 24, 24).face
        monkeypatch.setattr(reference, "CHUNK", 50)
        assert torch.equal(rasterize(clip, faces, 24, 24).face, whole)


def test_all_backends_select_the_same_faces(kernel_threads):
    """Also on shared edges and at equal depths, and for any number of threads."""
    grid = torch.cartesian_prod(torch.linspace(-1.1, 1.1, 14), torch.linspace(-1.1, 1.1, 14))
    index = torch.arange(14 * 13).view(14, 13)[:13] // 13 * 14 + torch.arange(13)
    quads = torch.stack([index, index + 14, index + 15, index + 1], -1).reshape(-1, 4)
    faces = torch.cat([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]])
    flat = torch.cat([grid, torch.zeros(len(grid), 1), torch.ones(len(grid), 1)], -1)[None]
    for clip, triangles in ((flat, faces), random_scene(3, 2, 60, 90)):
        seen = []
        for name, number in (("torch", 1), ("numba", 1), ("numba", 3)):
            kernel_threads(number)
            with backend(name):
                seen.append(rasterize(clip, triangles, 37, 52).face)
        assert (seen[0] >= 0).float().mean() > 0.3
        assert torch.equal(seen[0], seen[1]) and torch.equal(seen[0], seen[2])


def test_faces_far_outside_the_image_do_not_crash(each_backend):
    clip = torch.tensor([[[-1e30, -1e30, 0, 1], [1e30, -1e30, 0, 1], [0, 1e30, 0, 1]]])
    fragments = rasterize(clip, torch.tensor([[0, 1, 2]]), 5, 7)
    assert fragments.face.shape == (1, 5, 7)


def test_weights_reproduce_the_pixels_perspective_correctly():
    clip, faces = random_scene(2)
    fragments = rasterize(clip, faces, 16, 16)
    hit = fragments.face >= 0
    assert torch.allclose(fragments.barycentric[hit].sum(-1), torch.ones(int(hit.sum())), atol=1e-5)
    assert (fragments.barycentric[~hit] == 0).all() and (fragments.depth[~hit] == 1).all()
    b, y, x = hit.nonzero(as_tuple=True)
    corners = clip[b[:, None], faces[fragments.face[hit]]]
    point = (fragments.barycentric[hit][..., None] * corners).sum(1)
    expected = torch.stack([(2 * x + 1) / 16 - 1, 1 - (2 * y + 1) / 16], -1)
    assert torch.allclose(point[:, :2] / point[:, 3:], expected.float(), atol=1e-4)


def test_gradients_reach_vertices_and_attributes():
    clip, faces = random_scene(3, views=1)
    face = rasterize(clip, faces, 8, 8).face
    clip = clip.double().requires_grad_(True)
    assert torch.autograd.gradcheck(lambda c: barycentrics(c, faces, face)[0], (clip,), atol=1e-4)
    colors = torch.rand(18, 3, requires_grad=True)
    interpolate(colors, faces, rasterize(clip.detach().float(), faces, 8, 8)).sum().backward()
    assert colors.grad.abs().sum() > 0


def test_texture_space_is_covered_once_with_its_coordinates():
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    fragments = rasterize_plane(points, faces, 6, 8)
    assert (fragments.face >= 0).all()
    seen = interpolate(points, faces, fragments)[0]
    # the top row of the image is v near 1
    assert torch.allclose(seen[0, 0], torch.tensor([0.5 / 8, 1 - 0.5 / 6]), atol=1e-6)
    assert torch.allclose(seen[-1, -1], torch.tensor([1 - 0.5 / 8, 0.5 / 6]), atol=1e-6)


def test_an_empty_view():
    empty = rasterize(torch.tensor([[[3.0, 3, 0, 1], [4, 3, 0, 1], [3, 4, 0, 1]]]), torch.tensor([[0, 1, 2]]), 4, 4)
    assert (empty.face == -1).all()
    assert (rasterize(torch.zeros(1, 3, 4), torch.zeros(0, 3, dtype=torch.long), 4, 4).face == -1).all()
