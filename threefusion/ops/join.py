"""Several meshes as one."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from threefusion.types import Mesh


def join(meshes: Sequence[Mesh], *attributes: str) -> Mesh:
    """The triangles of all meshes in order, with those of the named attributes per vertex that the meshes have.

    >>> triangle = Mesh(torch.eye(3), torch.tensor([[0, 1, 2]]))
    >>> join([triangle, triangle]).faces.tolist()
    [[0, 1, 2], [3, 4, 5]]
    """
    first = torch.tensor([0, *(len(mesh.vertices) for mesh in meshes)]).cumsum(0).tolist()
    faces = torch.cat([mesh.faces + start for mesh, start in zip(meshes, first, strict=False)])
    given = [name for name in attributes if getattr(meshes[0], name) is not None]
    values = {name: torch.cat([getattr(mesh, name) for mesh in meshes]) for name in given}
    return Mesh(torch.cat([mesh.vertices for mesh in meshes]), faces, **values)
