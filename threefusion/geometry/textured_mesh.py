"""A user's mesh with its own texture coordinates, whose textures are trained texel by texel."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import scipy
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import grid_sample

from threefusion.asset.read import read_asset
from threefusion.asset.source import unpacked
from threefusion.errors import UserError
from threefusion.geometry.closest import SurfaceIndex
from threefusion.geometry.geometry import BuildContext, HasSurface
from threefusion.geometry.painted import Painted, Primitive, painted, values_of
from threefusion.geometry.settings import TexturedMeshConfig
from threefusion.geometry.texels import texels_at
from threefusion.types import FieldSample, Mesh, RenderOutput

if TYPE_CHECKING:
    from threefusion.material.material import Material

CHUNK = 1 << 17
"""Texels evaluated together."""
MARGIN = 1e-6
"""Distance from 0 and 1 of mixed values, whose logits would be infinite."""


class TexturedMesh(HasSurface):
    """A mesh file as it is; what is trained are its textures: a value per texel, and grids in space that all texels read.

    The grids are the coarse levels: they reach texels that no pixel has read yet, and do not know the seams between charts.
    """

    keeps_mesh: ClassVar[bool] = True
    changes_rows = False
    cfg: TexturedMeshConfig

    def __init__(self, cfg: TexturedMeshConfig, context: BuildContext) -> None:
        super().__init__(cfg)
        if context.feature_width == 0:
            raise UserError(
                "geometry: a textured-mesh learns textures, and this material has none to learn. Use another material"
            )
        self.radius, width = cfg.radius, context.feature_width
        self.grids = nn.ParameterList(torch.zeros(1, width, *[size] * 3) for size in cfg.grids)
        before = None if context.previous is None else context.previous.geometry
        if context.restoring:
            self._hold(Painted.empty(width), torch.zeros(0, width), torch.zeros(0, dtype=torch.bool))
        elif isinstance(before, TexturedMesh):
            if before.texels.shape[1] != width or before.cfg.texture_size != cfg.texture_size:
                raise UserError(
                    "geometry: textures of a textured-mesh can go to a next stage with the same material and texture_size"
                )
            self._hold(Painted(**{name: getattr(before, name) for name in Painted.names()}), before.texels, before.seen)
        else:
            made = painted(cfg, context)
            self._hold(made, torch.zeros_like(made.start), torch.zeros(len(made.start), dtype=torch.bool))

    def _hold(self, mesh: Painted, texels: Tensor, seen: Tensor) -> None:
        """Make room for a mesh and its texels."""
        for name in Painted.names():
            self.register_buffer(name, getattr(mesh, name).detach().clone())
        self.register_buffer("seen", seen.clone())
        self.texels = nn.Parameter(texels.detach().clone())

    vertices: Float[Tensor, "V 3"]
    faces: Int[Tensor, "F 3"]
    seen: Bool[Tensor, "N"]
    """Texels that a pixel of a training view has read."""

    def prepare_load(self, state: Mapping[str, Tensor]) -> None:
        """Make room for the mesh of a checkpoint."""
        if "texels" in state:
            device = self.texels.device
            sized = {name: torch.zeros_like(value, device=device) for name, value in state.items() if "." not in name}
            self._hold(Painted(**{name: sized[name] for name in Painted.names()}), sized["texels"], sized["seen"])

    def mesh(self) -> Mesh:
        """The mesh, all parts joined, with its texture coordinates."""
        return Mesh(self.vertices, self.faces, self.normals, self.uv, welded=self.welded)

    def features(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N D"]:
        """Features at the closest points of the surface."""
        closest = SurfaceIndex(self.mesh()).closest(points)
        return self.surface_features(points, closest.face.to(points.device), closest.weights.to(points))

    def surface_features(
        self, points: Float[Tensor, "N 3"], face: Int[Tensor, "N"], weights: Float[Tensor, "N 3"]
    ) -> Float[Tensor, "N D"]:
        """Features at points of faces: those of the four texels round each, mixed as the bounded values that they stand for."""
        return self._mixed(face, weights, self.values)

    def original(self) -> HasSurface:
        """The same mesh with the textures that it started from."""
        return Original(self)

    def values(self, rows: Int[Tensor, "N"]) -> Float[Tensor, "N D"]:
        """Features of texels; those of locked ones are, bit by bit, what they were at the start."""
        where = self.point.index_select(0, rows)[None, None, None] / self.radius
        learned = self.texels.index_select(0, rows)
        for grid in self.grids:
            learned = learned + grid_sample(grid, where, align_corners=True, padding_mode="border")[0, :, 0, 0].T
        return torch.where(
            self.free.index_select(0, rows), self.start.index_select(0, rows) + learned, self.start.index_select(0, rows)
        )

    def _mixed(self, face: Tensor, weights: Tensor, values) -> Float[Tensor, "N D"]:
        with torch.no_grad():
            uv = (weights.detach()[..., None] * self.uv[self.faces[face]]).sum(1)
            material = self.material.index_select(0, face)
            size = self.sizes.index_select(0, material)
            texel, share = texels_at(uv, size, self.wraps.index_select(0, material))
            rows = self.index.index_select(0, (texel + self.first.index_select(0, material)[:, None]).flatten())
        bounded = values(rows).sigmoid().view(*share.shape, -1)
        return (share[..., None] * bounded).sum(1).logit(MARGIN)

    @property
    def first(self) -> Int[Tensor, "K"]:
        """Where the texels of each material begin in `index`."""
        counts = self.sizes.prod(-1)
        return counts.cumsum(0) - counts

    @torch.no_grad()
    def after_step(self, render: RenderOutput, step: int) -> None:
        """Note which texels were read: only those have a gradient."""
        if self.texels.grad is not None:
            self.seen |= (self.texels.grad != 0).any(-1)

    @torch.no_grad()
    def finished(self) -> Float[Tensor, "N D"]:
        """Features of all texels. Without a texture to start from, texels that were never read copy the nearest that was."""
        rows = torch.arange(len(self.start), device=self.start.device)
        made = torch.cat([self.values(part) for part in rows.split(CHUNK)]) if len(rows) else self.start
        unseen = ~self.seen & self.free.any(-1)
        known = self.seen & self.free.any(-1)
        if self.cfg.start == "texture" or not unseen.any() or not known.any():
            return made
        tree = scipy.spatial.cKDTree(self.point[known].cpu().numpy())
        nearest = torch.from_numpy(tree.query(self.point[unseen].cpu().numpy())[1]).long()
        copied = made[known][nearest.to(made.device)]
        made[unseen] = torch.where(self.free[unseen], copied, made[unseen])
        return made

    @torch.no_grad()
    def textures(self, material: Material) -> dict[int, dict[str, Float[Tensor, "H W C"]]]:
        """The textures of every material of the file that may change, by its index and by glTF name, on the CPU.

        Only channels that may change. Texels that no face reads copy the nearest that one does, unless the mask locks them.
        """
        values = material.textures(FieldSample(self.finished(), points=self.point))
        made: dict[int, dict[str, Tensor]] = {}
        counts = self.sizes.prod(-1).tolist()
        for number, index in enumerate(self.index.split(counts)):
            changed = self.free[index].any(0)
            names = [name for name, columns in material.texture_features.items() if name in values and changed[columns].any()]
            if names:
                made[number] = {name: values[name][index].cpu() for name in names}
        locked = [~part.cpu() for part in self.open.split(counts)]
        if any(locked[number].any() for number in made):
            self._keep(made, locked)
        return {
            number: {name: value.view(*self.sizes[number].tolist(), -1) for name, value in textures.items()}
            for number, textures in made.items()
        }

    def _keep(self, made: dict[int, dict[str, Tensor]], locked: list[Bool[Tensor, "T"]]) -> None:
        """Give texels that the mask locks the values of the file."""
        with unpacked(self.source.cpu().numpy().tobytes()) as path:
            materials = read_asset(path, self.radius).materials
        for number, textures in made.items():
            texel = locked[number].nonzero()[:, 0]
            size = tuple(self.sizes[number].tolist())
            given = values_of(materials[number], size, texel, torch.ones(len(texel), 3))
            for name, values in textures.items():
                values[texel] = given[name]

    def coordinates(self) -> dict[Primitive, Float[Tensor, "F 3 2"]]:
        """Texture coordinates, v up, of the faces' corners of each primitive that has none in the file, on the CPU."""
        rows = self.bare.tolist()
        return {(mesh, part): self.uv[self.faces[first : first + count]].cpu() for mesh, part, first, count in rows}


class Original(HasSurface):
    """A textured mesh with the textures that it started from; it shares the tensors of the trained one."""

    def __init__(self, trained: TexturedMesh) -> None:
        super().__init__()
        # in a tuple, so that it is no submodule: whoever freezes or moves this one leaves the trained one alone
        self._trained = (trained,)
        self.radius = trained.radius

    def mesh(self) -> Mesh:
        """The mesh."""
        return self._trained[0].mesh()

    def features(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N D"]:
        """Features at the closest points of the surface."""
        closest = SurfaceIndex(self.mesh()).closest(points)
        return self.surface_features(points, closest.face.to(points.device), closest.weights.to(points))

    def surface_features(
        self, points: Float[Tensor, "N 3"], face: Int[Tensor, "N"], weights: Float[Tensor, "N 3"]
    ) -> Float[Tensor, "N D"]:
        """Features at points of faces."""
        trained = self._trained[0]
        return trained._mixed(face, weights, lambda rows: trained.start.index_select(0, rows))
