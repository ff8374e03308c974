"""Settings of the built-in geometries."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from threefusion.config.fields import Settings, bounded, located, slot
from threefusion.registry import component


@dataclass(frozen=True)
class SpaceConfig(Settings):
    """Where the scene is, and what it starts from."""

    radius: float = bounded(1.0, 0, 1e3, open_low=True)
    """Radius of the ball round the origin that holds the scene."""
    init_from: str = located("")
    """A run folder, or a mesh as .glb, .gltf, .obj, .ply or .stl, to start from, relative to the file that names it; empty: the
    stage before, if there is one."""


@dataclass(frozen=True)
class NetworkFieldConfig(SpaceConfig):
    """How points become numbers."""

    encoding: Settings = slot("encoding", "hash-grid")
    """How points are encoded before the network."""
    network: Literal["plain", "residual"] = "plain"
    """`plain`: ReLU layers; `residual`: SiLU layers with layer norm and skip connections, as in DreamFusion."""
    hidden_width: int = bounded(64, 1, 4096)
    """Width of the hidden layers; DreamFusion's is 128."""
    hidden_layers: int = bounded(1, 0, 16)
    """Number of hidden layers, 0 for a linear map; DreamFusion has 5."""
    network_dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision in which the network multiplies; bfloat16 pays for wide networks, on processors and GPUs that have it."""
    normal: Literal["analytic", "finite-difference"] = "analytic"
    """How normals are computed: the derivative of the field, or central differences of it, which smooth and cost six
    evaluations."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.network_dtype == "bfloat16" and self.normal == "finite-difference":
            raise ValueError("network_dtype: not bfloat16 with finite differences, which would be all rounding")


@dataclass(frozen=True)
class DensityConfig(SpaceConfig):
    """How a number becomes a density."""

    radius: float = bounded(1.0, 0, 1e3, open_low=True)
    """Radius of the ball round the origin that holds the scene; the density is 0 outside."""
    activation: Literal["softplus", "exp", "trunc-exp"] = "softplus"
    """What makes the density positive: `softplus` (Magic3D), `exp` (DreamFusion), `trunc-exp` (exp with a bounded derivative)."""
    bias: float = bounded(0.0, -1e6, 1e6)
    """Added to the density before its activation."""
    blob: Literal["none", "dreamfusion", "magic3d"] = "magic3d"
    """Added to the density before its activation: scale·exp(-r²/2std²) (DreamFusion) or scale·(1 - r/std) (Magic3D)."""
    blob_scale: float = bounded(10.0, -1e6, 1e6)
    """Height of the blob at the origin: 5 in DreamFusion, 10 in Magic3D."""
    blob_std: float = bounded(0.5, 0, 1e6, open_low=True)
    """Size of the blob in scene units: 0.2 in DreamFusion, 0.5 in Magic3D."""
    difference_step: float = bounded(0.01, 0, 1e3, open_low=True)
    """Distance of the points between which finite differences are taken, to either side, in scene units."""


@component("geometry", "density-field", "threefusion.geometry.density_field:DensityField", gives=("density",))
@dataclass(frozen=True)
class DensityFieldConfig(DensityConfig, NetworkFieldConfig):
    """How points become density and features."""


@component("geometry", "sdf-field", "threefusion.geometry.sdf_field:SdfField", gives=("distance",))
@dataclass(frozen=True)
class SdfFieldConfig(NetworkFieldConfig):
    """How points become a signed distance and features."""

    axes: tuple[float, float, float] = bounded((0.5, 0.5, 0.5), 0, 1e3, open_low=True)
    """Semi-axes of the initial ellipsoid along x, y and z, in scene units; a sphere if they are equal."""
    difference_step: float | None = bounded(None, 0, 1e3, open_low=True)
    """Distance of the points between which finite differences are taken, to either side, in scene units. If not given, a cell of
    the encoding's finest grid that counts, as in Neuralangelo (arXiv 2306.03092)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        grids = ("HashGridConfig", "DenseGridConfig")
        if self.normal == "finite-difference" and self.difference_step is None and type(self.encoding).__name__ not in grids:
            raise ValueError("difference_step: has to be given for an encoding that is no grid")


@component("geometry", "voxel-grid", "threefusion.geometry.voxel_grid:VoxelGrid", gives=("density",))
@dataclass(frozen=True)
class VoxelGridConfig(DensityConfig):
    """Size of the grid, and the density that it starts with (DVGO, arXiv 2111.11215, without its network)."""

    network_dtype: ClassVar[str] = "float32"

    resolution: int = bounded(64, 2, 512)
    """Cells per side of the cube round the ball; every vertex holds a density and features."""
    normal: Literal["analytic", "finite-difference"] = "finite-difference"
    """How normals are computed: the derivative of the interpolation, which jumps between cells, or central differences."""
    difference_step: float = bounded(0.03, 0, 1e3, open_low=True)
    """Distance of the points between which finite differences are taken, to either side, in scene units."""


@component("geometry", "tri-plane", "threefusion.geometry.density_field:DensityField", gives=("density",))
@dataclass(frozen=True)
class TriPlaneFieldConfig(DensityFieldConfig):
    """A density field on three planes of features (EG3D, arXiv 2112.07945)."""

    encoding: Settings = slot("encoding", "tri-plane")
    """How points are encoded before the network."""


@dataclass(frozen=True)
class SurfaceConfig(SpaceConfig):
    """What geometries with a surface have: features from an encoding and a plain network."""

    encoding: Settings = slot("encoding", "hash-grid")
    """How points are encoded before the network."""
    hidden_width: int = bounded(64, 1, 4096)
    """Width of the hidden layers."""
    hidden_layers: int = bounded(1, 0, 16)
    """Number of hidden layers, 0 for a linear map."""


@component("geometry", "tetrahedra", "threefusion.geometry.tetrahedra:Tetrahedra", gives=("surface", "edge-distances"))
@dataclass(frozen=True)
class TetrahedraConfig(SurfaceConfig):
    """DMTet: a surface from signed distances at the vertices of a tetrahedral grid."""

    resolution: int = bounded(64, 16, 512)
    """Size of the grid, which has resolution / 2.5 cells per side: about as many tetrahedra as others call this resolution."""
    shape: tuple[float, float, float] = bounded((0.5, 0.5, 0.5), 0, 1, open_low=True)
    """Half axes (x, y, z) of the ellipsoid to start from, in radii of the scene; equal ones make a sphere."""
    train_shape: bool = True
    """Whether the shape is trained; otherwise only its appearance is."""


@component(
    "geometry",
    "fixed-mesh",
    "threefusion.geometry.fixed_mesh:FixedMesh",
    gives=("surface",),
    needs=("density|distance|surface",),
)
@dataclass(frozen=True)
class FixedMeshConfig(SurfaceConfig):
    """A mesh whose vertices stay: only its appearance is learned."""


@component("geometry", "textured-mesh", "threefusion.geometry.textured_mesh:TexturedMesh", gives=("surface", "texels"))
@dataclass(frozen=True)
class TexturedMeshConfig(Settings):
    """A mesh file as it is: only its textures are trained, and of those only what is not locked."""

    radius: float = bounded(1.0, 0, 1e3, open_low=True)
    """Radius of the ball round the origin that holds the scene."""
    mesh: str = located("")
    """The mesh file; `train --mesh FILE` sets it."""
    texture_size: int | None = bounded(None, 8, 16384)
    """Height and width of the textures in texels; none: those of the file's own textures, 1024 where it has none."""
    start: Literal["texture", "gray"] = "texture"
    """What is trained starts from the file's textures, or from grey."""
    grids: tuple[int, ...] = bounded((8, 16, 32, 64), 2, 256)
    """Values along each side of the grids in space that all texels read besides their own value: the coarse levels."""
    materials: tuple[str, ...] = ()
    """Names of the materials that may change; empty: all."""
    mask: str = located("")
    """A picture over the textures: only texels where it is lighter than middle grey change; empty: all do."""
    channels: tuple[Literal["base_color", "metallic_roughness"], ...] = ("base_color", "metallic_roughness")
    """Textures that may change, of those that the material reads."""


@component("geometry", "image", "threefusion.geometry.canvas:Canvas", gives=("canvas",))
@dataclass(frozen=True)
class CanvasConfig(Settings):
    """Pictures of free pixels."""

    particles: int = bounded(1, 1, 4096)
    """Number of pictures that are trained side by side."""
    height: int = bounded(64, 1, 4096)
    """Height in pixels."""
    width: int = bounded(64, 1, 4096)
    """Width in pixels."""
    parametrization: Literal["logits", "linear"] = "logits"
    """What is trained: logits, whose colours cannot leave [0, 1], or the colours themselves."""
    contrast: float = bounded(0.0, 0, 100)
    """Standard deviation of the random numbers added to what the pictures start from."""
    file: str = located("")
    """A picture to start from, scaled to this size; grey without one."""
