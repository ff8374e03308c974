"""Typed values passed between components.

Letters: `B` views, `H W` image, `N` points or samples, `V` vertices, `F` faces, `D` features, `L` tokens.
World right-handed with +z up and the object round the origin; cameras OpenGL style (+x right, +y up, looking along -z);
azimuth 0 = camera on +x, growing towards +y, in (-pi, pi]; angles in radians; colours sRGB-encoded in [0, 1], channels last.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from enum import IntEnum

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from threefusion.machine.tensors import TensorData, send


class Shading(IntEnum):
    """How one view is shaded; the camera sampler decides per view."""

    ALBEDO = 0
    TEXTURELESS = 1
    LIT = 2


@dataclass(frozen=True)
class Rays(TensorData):
    """Rays of a batch of images, flattened view by view, row by row from the top left."""

    origins: Float[Tensor, "R 3"]
    directions: Float[Tensor, "R 3"]
    """Unit directions."""
    radii: Float[Tensor, "R 1"]
    """Radius of the pixel's cone at unit distance along the ray (mip-NeRF, arXiv 2103.13415, section 3.1)."""
    view_index: Int[Tensor, "R"]
    """Which view of the batch the ray belongs to."""


@dataclass(frozen=True)
class Cameras(TensorData):
    """A batch of perspective cameras that share one image size."""

    c2w: Float[Tensor, "B 4 4"]
    """Camera to world, OpenGL axes."""
    fovy: Float[Tensor, "B"]
    """Vertical field of view in radians."""
    azimuth: Float[Tensor, "B"]
    elevation: Float[Tensor, "B"]
    distance: Float[Tensor, "B"]
    height: int
    width: int
    near: float = 0.1
    far: float = 10.0
    crop: Float[Tensor, "B 4"] | None = None
    """First row and column within a larger image, and its height and width, to which `fovy` belongs; None: it is the image."""

    def __len__(self) -> int:
        return self.c2w.shape[0]

    @property
    def position(self) -> Float[Tensor, "B 3"]:
        """Camera centres in world units."""
        return self.c2w[:, :3, 3]


@dataclass(frozen=True)
class Lights(TensorData):
    """One point light and one ambient term per view (DreamFusion, arXiv 2209.14988, section 3.1)."""

    position: Float[Tensor, "B 3"]
    color: Float[Tensor, "B 3"]
    ambient: Float[Tensor, "B 3"]
    """Diffuse and ambient colour, DreamFusion's l_rho and l_a."""
    turn: Float[Tensor, "B"] | None = None
    """Angle by which environment light is turned about +z, in radians; None: not turned."""


def view_generator(seed: int, step: int, index: int, purpose: str) -> torch.Generator:
    """A CPU generator that depends on nothing but its arguments.

    Every random number of a run is drawn this way, so neither a resume nor another number of processes changes the run.
    """
    digest = hashlib.blake2b(f"{seed}/{step}/{index}/{purpose}".encode(), digest_size=7).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big"))


@dataclass(frozen=True)
class ViewBatch(TensorData):
    """The views of one optimiser step: cameras, lights, shading, and the keys of all randomness."""

    camera: Cameras
    light: Lights
    shading: Int[Tensor, "B"]
    """Values of `Shading`, on the CPU: the host decides by them what has to be rendered."""
    step: int
    index: Int[Tensor, "B"]
    """Position of each view in the global batch of this step (a rank holds a slice), on the CPU: it seeds the generators."""
    seed: int = 0
    group: Int[Tensor, "B"] | None = None
    """Group of each view in the global batch: views that a prior denoises jointly. By default every view is a group."""

    def __post_init__(self) -> None:
        if self.group is None:
            object.__setattr__(self, "group", self.index)

    def to(self, device: torch.device | str) -> ViewBatch:
        """The same views with cameras and lights on `device`; shading, index and group stay on the CPU, where they are read."""
        return replace(self, camera=self.camera.to(device), light=self.light.to(device))

    def __len__(self) -> int:
        return len(self.camera)

    def generators(self, purpose: str) -> list[torch.Generator]:
        """One generator per view, a pure function of (seed, step, index, purpose)."""
        return [view_generator(self.seed, self.step, int(i), purpose) for i in self.index.tolist()]

    def rand(self, purpose: str, *shape: int) -> Float[Tensor, "B ..."]:
        """Uniform numbers in [0, 1), `[B, *shape]`, drawn view by view on the CPU and moved to the batch's device."""
        drawn = [torch.rand(shape, generator=g) for g in self.generators(purpose)]
        return send(torch.stack(drawn), self.camera.c2w.device)

    def rand_per_group(self, purpose: str, *shape: int) -> Float[Tensor, "B ..."]:
        """Uniform numbers in [0, 1), `[B, *shape]`, the same for all views of a group."""
        return replace(self, index=self.group).rand(purpose, *shape)

    def randn(self, purpose: str, *shape: int) -> Float[Tensor, "B ..."]:
        """Standard normal numbers, `[B, *shape]`, drawn like `rand`."""
        drawn = [torch.randn(shape, generator=g) for g in self.generators(purpose)]
        return send(torch.stack(drawn), self.camera.c2w.device)


@dataclass(frozen=True)
class ViewTexts(TensorData):
    """The texts of a batch of views, not yet encoded."""

    texts: tuple[str, ...]
    weight: Float[Tensor, "B V"]
    """Share of each text in every view; rows sum to 1."""
    negatives: tuple[str, ...] = ()
    """Negative prompts, the same for all views."""
    plain: str | None = None
    """The text of the whole scene, without a view; None where there is none."""


@dataclass(frozen=True)
class FieldSample(TensorData):
    """A field evaluated at points."""

    features: Float[Tensor, "N D"]
    density: Float[Tensor, "N 1"] | None = None
    normal: Float[Tensor, "N 3"] | None = None
    """Unit, outward; None unless requested."""
    points: Float[Tensor, "N 3"] | None = None
    direction: Float[Tensor, "N 3"] | None = None
    """Unit direction in which the camera ray travels; None where no camera looks, as in baking."""
    axes: Float[Tensor, "N 3 3"] | None = None
    """Columns: the axes of the camera or of the world, as the material's `reads_axes` says; None where it says nothing."""
    distance: Float[Tensor, "N 1"] | None = None
    """Signed distance to the surface in scene units, negative inside; None for other geometries."""
    gradient: Float[Tensor, "N 3"] | None = None
    """Of the signed distance, not normalised; None unless normals were requested."""


@dataclass(frozen=True)
class RaySamples(TensorData):
    """Packed samples along rays, sorted by ray, then by distance. Rays that miss everything have none."""

    t_start: Float[Tensor, "N"]
    t_end: Float[Tensor, "N"]
    ray_index: Int[Tensor, "N"]

    @property
    def t_mid(self) -> Float[Tensor, "N"]:
        """Distance of each sample's middle from the ray's origin."""
        return 0.5 * (self.t_start + self.t_end)


@dataclass(frozen=True)
class Want:
    """What a render has to contain beside image, opacity and depth.

    >>> Want(normals=True) | Want(samples=True)
    Want(normals=True, samples=True, random=False, nearby=False, edge_distances=False, source=False)
    """

    normals: bool = False
    """Normals, even if the shading does not need them."""
    samples: bool = False
    """The samples along the rays, for losses on samples."""
    random: bool = False
    """Jittered samples and random backgrounds, drawn from the views' generators: for training."""
    nearby: bool = False
    """With samples, the normal of a point next to each: for smoothness."""
    edge_distances: bool = False
    """Signed distances at the ends of the grid's edges, where the geometry has such a grid."""
    source: bool = False
    """The scene that the run started from, as the same cameras see it."""

    def __or__(self, other: Want) -> Want:
        return Want(**{name: wanted or getattr(other, name) for name, wanted in vars(self).items()})


@dataclass(frozen=True)
class RenderedSamples(TensorData):
    """The samples behind a render, for losses on samples instead of pixels."""

    weights: Float[Tensor, "N"]
    """Compositing weights, with gradient."""
    normal: Float[Tensor, "N 3"] | None
    """World space; None unless normals were rendered."""
    direction: Float[Tensor, "N 3"]
    """Unit ray direction of each sample, world space."""
    view_index: Int[Tensor, "N"]
    ray_index: Int[Tensor, "N"]
    """Ray of each sample: its pixel in the images that the renderer sampled, counted view by view, row by row."""
    t: Float[Tensor, "N"]
    """Distance of each sample's middle from the camera."""
    rays: int
    """Rays of all views, as many in each, those without samples included."""
    gradient: Float[Tensor, "N 3"] | None = None
    """Of the signed distance, world space; None without normals, and for geometries without a distance."""
    nearby_normal: Float[Tensor, "N 3"] | None = None
    """Normal of a random point next to each sample, world space; None unless wanted."""


@dataclass(frozen=True)
class RenderedPrimitives(TensorData):
    """The primitives of an explicit geometry as each view shows them, for growing and pruning."""

    position: Float[Tensor, "B N 2"]
    """Position in the image in pixels; part of the graph, so that its gradient can be kept (`retain_grad`)."""
    radius: Float[Tensor, "B N"]
    """Radius in the image in pixels; 0 where a view does not show the primitive."""


@dataclass(frozen=True)
class RenderOutput(TensorData):
    """Images of one batch of views."""

    image: Float[Tensor, "B H W C"]
    opacity: Float[Tensor, "B H W 1"]
    depth: Float[Tensor, "B H W 1"]
    """Expected distance along the ray, not normalised by opacity."""
    normal: Float[Tensor, "B H W 3"] | None = None
    """World space, unit length where the pixel is not empty, 0 elsewhere; None unless wanted or needed for shading."""
    samples: RenderedSamples | None = None
    """None unless wanted."""
    primitives: RenderedPrimitives | None = None
    """None for geometries without primitives."""
    latents: Float[Tensor, "B H W D"] | None = None
    """What was composited, where the material gives something else than colours; None elsewhere."""
    visible_share: Float[Tensor, ""] | None = None
    """Share of the samples that contribute to the image; None where the renderer does not measure it."""
    mesh: Mesh | None = None
    """The surface in world space, part of the graph; None where no mesh is rendered."""
    edge_distances: Float[Tensor, "E 2"] | None = None
    """Signed distances at the ends of the edges of a grid, part of the graph; None unless wanted, and where there is no grid."""
    source: RenderOutput | None = None
    """The scene that the run started from, in the same views; None unless wanted."""


@dataclass(frozen=True)
class Mesh(TensorData):
    """A triangle mesh; `uv` is given per vertex (vertices are split along seams) with v up."""

    vertices: Float[Tensor, "V 3"]
    faces: Int[Tensor, "F 3"]
    normals: Float[Tensor, "V 3"] | None = None
    uv: Float[Tensor, "V 2"] | None = None
    textures: dict[str, Float[Tensor, "H W C"]] | None = None
    """By glTF name: `base_color` (sRGB), `metallic_roughness` (occlusion, roughness, metallic), `normal` (0.5 + 0.5 n, tangent
    space); row 0 is the top of the image (v = 1)."""
    colors: Float[Tensor, "V 3"] | None = None  # sRGB
    welded: Int[Tensor, "F 3"] | None = None  # the faces, with one vertex for all at one place; None: `faces`


class Scene(nn.Module):
    """The result of a run: geometry, material, background, and the direction in which the whole faces.

    Renderers, exporters and later stages receive it. `heading` turns the scene about the vertical axis, in radians,
    counterclockwise seen from above: what the geometry holds at azimuth a is seen at azimuth a + heading.
    """

    def __init__(self, geometry: nn.Module, material: nn.Module | None, background: nn.Module) -> None:
        super().__init__()
        self.geometry = geometry
        self.material = material
        self.background = background
        self.heading: Float[Tensor, ""]
        self.register_buffer("heading", torch.zeros(()))
        self.origin = ""
        """What it has started from, in words; empty if from nothing."""

    @property
    def device(self) -> torch.device:
        """The device of the scene's tensors."""
        return self.heading.device
