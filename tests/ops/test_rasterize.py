"""The rasterizer against every pixel testing every face, and against closed forms."""

import pytest
import torch

from threefusion.ops.backend import backend
from threefusion.ops.rasterize import Fragments, barycentrics, interpolate, rasterize, rasterize_plane
from threefusion.ops.torch_kernels import rasterize as reference


def brute_force(clip, faces, height, width, cull=False):
    """Every pixel tests every face: explicit polygons clipped at the near plane, divided by w, in double precision."""
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    x, y = (2 * columns.double() + 1) / width - 1, 1 - (2 * rows.double() + 1) / height
    out = torch.full((len(clip), height, width), -1)
    for b, view in enumerate(clip.double()):
        nearest = torch.full((height, width), 2.0, dtype=torch.float64)
        for f, face in enumerate(faces):
            polygon = clipped_at_the_near_plane(view[face])
            for k in range(1, len(polygon) - 1):
                depth = depth_of_triangle(torch.stack([polygon[0], polygon[k], polygon[k + 1]]), x, y, cull)
                closer = depth < nearest - 1e-9  # the depth buffer resolves 2^-30; the lower id wins ties
                nearest, out[b] = torch.where(closer, depth, nearest), torch.where(closer, f, out[b])
    return out


def clipped_at_the_near_plane(corners):
    """Sutherland-Hodgman at z = -w."""
    polygon = []
    for a, b in zip(corners, corners.roll(-1, 0), strict=True):
        before, after = a[2] + a[3], b[2] + b[3]
        if before >= 0:
            polygon.append(a)
        if (before >= 0) != (after >= 0):
            polygon.append(a + (b - a) * (before / (before - after)))
    return polygon


def depth_of_triangle(corners, x, y, cull):
    """Depth at each pixel of a triangle in front of the camera, 2 outside."""
    a, p, q = corners[:, :3] / corners[:, 3:]
    area = (p[0] - a[0]) * (q[1] - a[1]) - (p[1] - a[1]) * (q[0] - a[0])
    weights = [((v[0] - x) * (w[1] - y) - (v[1] - y) * (w[0] - x)) / area for v, w in ((p, q), (q, a), (a, p))]
    depth = sum(w * c[2] for w, c in zip(weights, (a, p, q), strict=True))
    inside = (torch.stack(weights) >= 0).all(0) & (depth.abs() <= 1)
    return torch.where(inside, depth, 2.0) if area > 0 or (area < 0 and not cull) else torch.full_like(x, 2.0)


def camera_scene(seed):
    """A soup of triangles around a perspective camera: in front, behind, across the near and the far plane; some degenerate."""
    generator = torch.Generator().manual_seed(seed)
    xyz = (torch.rand(1, 16, 3, generator=generator, dtype=torch.float64) * 2 - 1) * torch.tensor([2.0, 2.0, 3.0])
    near, far = 0.1, 2.5
    z = (-(far + near) * xyz[..., 2:] - 2 * far * near) / (far - near)
    faces = torch.stack([torch.randperm(16, generator=generator)[:3] for _ in range(14)])
    faces[3, 2] = faces[3, 1]
    faces[5] = faces[4].flip(0)
    xyz[0, faces[6, 2]] = (xyz[0, faces[6, 0]] + xyz[0, faces[6, 1]]) / 2
    z[0, faces[6, 2]] = (z[0, faces[6, 0]] + z[0, faces[6, 1]]) / 2
    return torch.cat([xyz[..., :2], z, -xyz[..., 2:]], -1), faces


def random_scene(seed=0, views=2, vertices=18, count=12):
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(views, vertices, 3, generator=generator) * 2.4 - 1.2
    w = 0.6 + torch.rand(views, vertices, 1, generator=generator)
    faces = torch.stack([torch.randperm(vertices, generator=generator)[:3] for _ in range(count)])
    return torch.cat([points * w, w], -1), faces


def test_visibility_is_that_of_the_brute_force_twin(each_backend):
    """200 meshes: crossings of near and far plane, vertices behind the camera, back faces, coincident and degenerate faces."""
    crossing = 0
    for seed in range(200):
        clip, faces = camera_scene(seed)
        cull = seed % 4 == 0
        seen = rasterize(clip, faces, 13, 16, cull).face
        assert torch.equal(seen, brute_force(clip, faces, 13, 16, cull)), f"seed {seed}"
        behind = (clip[0, :, 3] <= 0)[faces]
        crossing += (behind.any(1) & ~behind.all(1))[seen[seen >= 0]].sum().item()
    assert crossing > 5000


def test_a_face_that_reaches_behind_the_camera_keeps_its_own_coordinates(each_backend):
    """A floor under the camera that extends behind it: what is interpolated at a pixel is where its ray meets the floor."""
    vertices = torch.tensor([[-9.0, -1, 9], [9, -1, 9], [0, -1, -40]])
    near, far = 0.1, 100.0
    z = (-(far + near) * vertices[:, 2] - 2 * far * near) / (far - near)
    clip = torch.stack([vertices[:, 0], vertices[:, 1], z, -vertices[:, 2]], -1)[None].requires_grad_()
    faces = torch.tensor([[0, 1, 2]])
    fragments = rasterize(clip, faces, 32, 32)
    rows = torch.arange(32)[:, None].expand(32, 32)
    # the bottom rows see the floor at most 1 / 0.5 away, where it is wider than the view
    assert (fragments.face[0, 24:] == 0).all() and (fragments.face[0, :16] == -1).all()
    points = interpolate(vertices, faces, fragments)[0]
    slope = (2 * rows + 1) / 32 - 1
    assert torch.allclose(-points[24:, :, 2], 1 / slope[24:], rtol=1e-5)
    points.sum().backward()
    assert clip.grad.isfinite().all() and clip.grad.abs().sum() > 0


def test_shared_edges_leave_no_holes(each_backend):
    """A closed fan around a vertex at a pixel centre, and edges through pixel centres, under perspective."""
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        grid = torch.stack(torch.meshgrid(torch.arange(9.0), torch.arange(9.0), indexing="xy"), -1).reshape(-1, 2) / 4 - 1
        inner = (grid.abs() < 1).all(-1, keepdim=True)
        # vertices at the pixel centres of an image of 16 pixels, and between
        grid = torch.where(inner, (grid + torch.randint(-1, 2, grid.shape, generator=generator) / 16), grid * 1.1)
        w = 0.5 + torch.rand(len(grid), 1, generator=generator)
        clip = torch.cat([grid * w, w * 0.2, w], -1)[None]
        corner = torch.arange(72).view(8, 9)[:, :8].reshape(-1, 1)
        faces = torch.cat([corner + torch.tensor([0, 1, 10]), corner + torch.tensor([0, 10, 9])])
        faces = torch.stack([face.roll(i % 3) for i, face in enumerate(faces[torch.randperm(len(faces), generator=generator)])])
        for size in (16, 23):
            assert (rasterize(clip, faces, size, size).face >= 0).all()


def test_coordinates_that_are_not_numbers_hide_only_their_faces(each_backend):
    clip = torch.tensor([[[-1.0, -1, 0, 1], [3, -1, 0, 1], [-1, 3, 0, 1], [0, 0, -0.5, 1]]])
    for bad in (float("nan"), float("inf")):
        clip[0, 3] = bad
        fragments = rasterize(clip, torch.tensor([[3, 1, 2], [0, 1, 2]]), 4, 4)
        assert (fragments.face == 1).all() and fragments.barycentric.isfinite().all()


@pytest.mark.parametrize("bad", [-1, 18])
def test_indices_of_missing_vertices_are_refused(bad):
    clip, faces = random_scene()
    fragments = rasterize(clip, faces, 4, 4)
    faces[0, 0] = bad
    with pytest.raises(IndexError, match=r"not all in \[0, 18\)"):
        rasterize(clip, faces, 4, 4)
    with pytest.raises(IndexError, match=r"not all in \[0, 18\)"):
        interpolate(torch.ones(18, 1), faces, fragments)


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


def test_gradients_are_those_of_finite_differences(each_backend):
    """Of coordinates, depth and interpolated attributes; faces across the near plane included."""
    clip, faces = camera_scene(0)
    face = rasterize(clip, faces, 7, 9).face
    behind = (clip[0, :, 3] <= 0)[faces].any(1)
    assert behind[face[face >= 0]].any()
    clip.requires_grad_()
    attributes = torch.rand(16, 2, dtype=torch.float64, requires_grad=True)

    def rendered(clip, attributes):
        weights, depth = barycentrics(clip, faces, face)
        return weights, depth, interpolate(attributes, faces, Fragments(face, weights, depth))

    assert torch.autograd.gradcheck(rendered, (clip, attributes))


def test_backends_agree_in_values_and_gradients(kernel_threads):
    """And numba's gradients do not depend on the number of threads."""
    start, faces = random_scene(5, 3, 60, 90)
    generator = torch.Generator().manual_seed(0)
    cotangent = torch.randn(3, 20, 24, 4, generator=generator), torch.randn(3, 20, 24, generator=generator)
    results = []
    for name, number in (("torch", 1), ("numba", 1), ("numba", 3), ("numba", 7)):
        kernel_threads(number)
        clip, attributes = start.clone().requires_grad_(), start[0].clone().requires_grad_()
        with backend(name):
            fragments = rasterize(clip, faces, 20, 24)
            image = interpolate(attributes, faces, fragments)
            torch.autograd.backward((image, fragments.depth), cotangent)
        results.append((fragments.barycentric.detach(), fragments.depth.detach(), image.detach(), clip.grad, attributes.grad))
    for plain, fast, *others in zip(*results, strict=True):
        assert torch.allclose(fast, plain, rtol=1e-4, atol=1e-5 * plain.abs().max().item())
        assert all(torch.equal(fast, other) for other in others)


def test_only_what_is_needed_is_differentiated():
    clip, faces = random_scene(3, views=1)
    colors = torch.rand(18, 3, requires_grad=True)
    interpolate(colors, faces, rasterize(clip, faces, 8, 8)).sum().backward()
    assert colors.grad.abs().sum() > 0 and clip.grad is None
    for attributes in (colors.detach().half(), colors.detach().double()):
        clip = clip.detach().requires_grad_()
        image = interpolate(attributes, faces, rasterize(clip, faces, 8, 8))
        image.sum().backward()
        assert image.dtype == (torch.float64 if attributes.dtype == torch.float64 else torch.float32)
        assert clip.grad.isfinite().all()


def test_a_face_at_the_far_plane_hides_nothing(each_backend):
    corners = torch.tensor([[-1.0, -1, 0, 1], [3, -1, 0, 1], [-1, 3, 0, 1]])
    far = corners + torch.tensor([0.0, 0, 1, 0])
    clip, faces = torch.cat([far, corners])[None], torch.tensor([[0, 1, 2], [3, 4, 5]])
    assert (rasterize(clip, faces, 2, 2).face == 1).all() and (rasterize(clip, faces[:1], 2, 2).face == 0).all()


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
