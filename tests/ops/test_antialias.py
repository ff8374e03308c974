"""Antialiasing against a loop over edges and rows, and its gradient against a supersampled render."""

from collections import defaultdict
from dataclasses import replace

import pytest
import torch
import trimesh
from torch.nn.functional import avg_pool2d

from threefusion.camera.orbit import orbit_views
from threefusion.camera.projection import clip_coordinates
from threefusion.ops.antialias import antialias, mesh_edges
from threefusion.ops.rasterize import rasterize


def naive(color, fragments, clip, faces):
    """Naive version: every edge, every row that it crosses, and where rows are scarce every column, in double precision."""
    out = color.double().clone()
    for b, view in enumerate(clip.double()):
        adjacent = defaultdict(list)
        for triangle in faces.tolist():
            for i in range(3):
                adjacent[tuple(sorted((triangle[i], triangle[(i + 1) % 3])))].append(triangle[(i + 2) % 3])
        best = {}
        for (i, j), opposite in adjacent.items():
            sides = [bool(torch.linalg.det(view[[i, j, k]][:, [0, 1, 3]]) > 0) for k in opposite]
            # faces two by two: an edge of three has a pair and a border
            for pair in (sides[k : k + 2] for k in range(0, len(sides), 2)):
                if len(set(pair)) > 1:
                    continue
                for crossing in crossings(view[i], view[j], pair[0], fragments, b):
                    if crossing[0] not in best or crossing[1] < best[crossing[0]][1]:
                        best[crossing[0]] = crossing
        for (first, second), _, shift in best.values():
            change = color[b][first].double() - color[b][second].double()
            out[b][second if shift > 0 else first] += shift * change
    return out


def crossings(a, b, left, fragments, view):
    """(pixel, next pixel), depth, and how far beyond their border the edge is, for all visible crossings of an edge."""
    _, height, width = fragments.face.shape
    ends = []
    for this, other in ((a, b), (b, a)):
        if this[2] + this[3] < 0:
            if other[2] + other[3] < 0:
                return
            cut = (this[2] + this[3]) / (this[2] + this[3] - other[2] - other[3])
            this = this + cut * (other - this)
        ends.append(((this[0] / this[3] + 1) * width / 2, (1 - this[1] / this[3]) * height / 2, this[2] / this[3]))
    (ax, ay, az), (bx, by, bz) = ends
    by_row = abs(by - ay) >= abs(bx - ax)
    (a_u, a_v), (b_u, b_v) = ((ax, ay), (bx, by)) if by_row else ((ay, ax), (by, bx))
    for line in range(height if by_row else width):
        if not min(a_v, b_v) <= line + 0.5 < max(a_v, b_v):
            continue
        share = (line + 0.5 - a_v) / (b_v - a_v)
        u, depth = a_u + share * (b_u - a_u), az + share * (bz - az)
        p = int(torch.floor(u - 0.5))
        if not 0 <= p < (width if by_row else height) - 1:
            continue
        pixels = [(line, p), (line, p + 1)] if by_row else [(p, line), (p + 1, line)]
        # a point a little to the left of the edge on screen, where y points down
        offset = (by - ay) if by_row else -(bx - ax)
        left_is_second = bool(offset > 0)
        front, back = (pixels[1], pixels[0]) if left == left_is_second else (pixels[0], pixels[1])
        seen, behind = (float(fragments.depth[view][pixel]) for pixel in (front, back))
        if seen < behind and depth < behind:
            yield tuple(pixels), float(depth), float(u - (p + 1))


def soup(seed=0, views=2, vertices=18, count=12):
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(views, vertices, 3, generator=generator) * 2.4 - 1.2
    w = 0.6 + torch.rand(views, vertices, 1, generator=generator)
    faces = torch.stack([torch.randperm(vertices, generator=generator)[:3] for _ in range(count)])
    return torch.cat([points * w, w], -1), faces


def ball(subdivisions=2):
    mesh = trimesh.creation.icosphere(subdivisions, 0.6)
    return torch.tensor(mesh.vertices).float(), torch.tensor(mesh.faces)


def ring(sections=16):
    mesh = trimesh.creation.torus(0.5, 0.2, major_sections=2 * sections, minor_sections=sections)
    return torch.tensor(mesh.vertices).float(), torch.tensor(mesh.faces)


def cameras(size, count=2):
    return orbit_views(count, 0.4, 2.0, 0.8, size, size).camera


def antialiased(vertices, faces, camera, color=lambda face: (face >= 0).float()[..., None]):
    clip = clip_coordinates(vertices, camera)
    fragments = rasterize(clip, faces, camera.height, camera.width)
    return antialias(color(fragments.face), fragments, clip, faces, mesh_edges(faces))


def close_up(vertices, faces):
    """Clip coordinates of a camera inside the mesh's bounding ball: faces reach behind it."""
    camera = replace(cameras(20), c2w=cameras(20).c2w.clone())
    camera.c2w[:, :3, 3] *= 0.3
    return clip_coordinates(vertices, camera), faces


SCENES = {
    "soup": lambda: soup(),
    "another soup": lambda: soup(5, 3, 40, 60),
    "sphere": lambda: (clip_coordinates(ball()[0], cameras(20)), ball()[1]),
    "torus": lambda: (clip_coordinates(ring()[0], cameras(20)), ring()[1]),
    "camera inside a torus": lambda: close_up(*ring()),
}


@pytest.mark.parametrize("scene", SCENES)
def test_agrees_with_the_naive_loop(scene):
    clip, faces = SCENES[scene]()
    fragments = rasterize(clip, faces, 20, 26)
    color = torch.rand(*fragments.face.shape, 2, generator=torch.Generator().manual_seed(1))
    out = antialias(color, fragments, clip, faces, mesh_edges(faces))
    expected = naive(color, fragments, clip, faces)
    assert (expected - color).abs().gt(1e-3).sum() > 40
    torch.testing.assert_close(out.double(), expected, atol=1e-4, rtol=0)


def supersampled(vertices, faces, camera, factor=8):
    fine = replace(camera, height=factor * camera.height, width=factor * camera.width)
    face = rasterize(clip_coordinates(vertices, fine), faces, fine.height, fine.width).face
    return avg_pool2d((face >= 0).float()[:, None], factor).permute(0, 2, 3, 1)


@pytest.mark.parametrize(("vertices", "faces"), [ball(2), ball(4), ring(16)], ids=["sphere", "fine sphere", "torus"])
def test_gradient_of_coverage_is_that_of_a_supersampled_render(vertices, faces):
    camera, h = cameras(64, 1), 1e-2
    x, y = torch.meshgrid(torch.linspace(-1, 1, 64), torch.linspace(-1, 1, 64), indexing="xy")
    weights = (1 + x / 2 + y / 3 + x * y)[..., None]
    moved = vertices.clone().requires_grad_()
    (weights * antialiased(moved, faces, camera)).sum().backward()
    errors = []
    for direction in (vertices, *torch.eye(3).expand(len(vertices), 3, 3).unbind(1), (3 * vertices).sin()):
        images = [supersampled(vertices + sign * h * direction, faces, camera) for sign in (1, -1)]
        expected = (weights * (images[0] - images[1])).sum() / (2 * h)
        errors.append(abs(float((moved.grad * direction).sum() / expected) - 1))
    assert sorted(errors)[2] < 0.06
    plain = supersampled(vertices, faces, camera, 1)
    target = supersampled(vertices, faces, camera)
    assert (antialiased(vertices, faces, camera) - target).norm() < 0.3 * (plain - target).norm()


def test_colours_receive_what_they_contribute():
    vertices, faces = ball()
    camera = cameras(16, 1)
    clip = clip_coordinates(vertices, camera)
    fragments = rasterize(clip, faces, 16, 16)
    color = torch.rand(1, 16, 16, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda c: antialias(c, fragments, clip.double(), faces, mesh_edges(faces)), color)


def test_interior_edges_change_nothing():
    vertices, faces = ball()
    camera = cameras(32, 1)
    face = rasterize(clip_coordinates(vertices, camera), faces, 32, 32).face
    image = antialiased(vertices, faces, camera, lambda face: face[..., None].float())
    inside = avg_pool2d((face >= 0).float()[:, None], 3, 1, 1)[:, 0] > 0.999
    assert inside.sum() > 100
    assert torch.equal(image[..., 0][inside], face[inside].float())


def test_each_edge_once_with_its_faces():
    _, faces = ball()
    edges = mesh_edges(faces)
    assert len(edges.ends) == 3 * len(faces) // 2 == len(edges.ends.unique(dim=0))
    assert (edges.half >= 0).all()
    for side in edges.half.unbind(1):
        assert all(set(end) <= set(face) for end, face in zip(edges.ends.tolist(), faces[side >> 1].tolist(), strict=True))
    # neighbours of a consistently wound mesh run along their common edge in opposite directions
    assert ((edges.half[:, 0] ^ edges.half[:, 1]) & 1).all()


def test_an_edge_of_three_faces_is_listed_twice():
    edges = mesh_edges(torch.tensor([[0, 1, 2], [1, 0, 3], [0, 1, 4]]))
    assert [half for end, half in zip(edges.ends.tolist(), edges.half.tolist(), strict=True) if end == [0, 1]] == [
        [1, 2],
        [5, -1],
    ]


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1), (8, 8)])
def test_gradients_are_finite_everywhere(size):
    """Vertices behind the camera, in its plane and at its centre, degenerate and huge faces, no faces."""
    clip, faces = soup(2, 2, 30, 40)
    clip[0, :6, 3] *= -1
    clip[0, 6:9, 3] = 0
    clip[1, 2] = 0
    clip[1, 3] = 1e30
    clip[1, 4] = clip[1, 5]
    faces[3] = torch.tensor([7, 7, 8])
    for chosen in (faces, faces[:0]):
        moved = clip.clone().requires_grad_()
        fragments = rasterize(moved, chosen, *size)
        color = torch.rand(2, *size, 3, requires_grad=True)
        image = antialias(color, fragments, moved, chosen, mesh_edges(chosen))
        image.square().sum().backward()
        assert image.isfinite().all() and color.grad.isfinite().all()
        assert moved.grad is None or moved.grad.isfinite().all()
