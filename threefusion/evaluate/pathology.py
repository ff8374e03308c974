"""Pathologies of shapes and colours: floaters, empty views, clipped colours."""

from __future__ import annotations

from typing import Any

from jaxtyping import Float
from torch import Tensor

from threefusion.evaluate.keys import COLOR_KEYS, SHAPE_KEYS
from threefusion.exporter.preview import SurfaceViews
from threefusion.exporter.topology import components, signed_volume, surface_area, weld
from threefusion.types import Mesh

EMPTY = 0.005
"""A view with a smaller silhouette area, as a share of the image, counts as empty."""
LIMIT = 1.5 / 255
"""Within this distance of 0 or 1 a channel counts as clipped."""


def shape_flaws(mesh: Mesh | None) -> dict[str, float | int | None]:
    """Number of connected components, and shares of area and enclosed volume outside the largest; cavities do not count."""
    if mesh is None or len(mesh.faces) == 0:
        return dict.fromkeys(SHAPE_KEYS)
    parts = [part for part in components(weld(mesh)) if signed_volume(part) > 0]
    if not parts:
        return dict.fromkeys(SHAPE_KEYS) | {"components": 0}
    area, volume = [surface_area(part) for part in parts], [signed_volume(part) for part in parts]
    return {
        "components": len(parts),
        "floater_area": 1 - max(area) / sum(area),
        "floater_volume": 1 - max(volume) / sum(volume),
    }


def emptiness(mask: Float[Tensor, "B H W 1"]) -> float:
    """Share of empty views."""
    return float((mask.mean((1, 2, 3)) < EMPTY).double().mean())


def color_flaws(colors: Float[Tensor, "N 3"]) -> dict[str, float | int | None]:
    """Mean saturation (max - min) / max, and the share of colours with a clipped channel; None without colours."""
    if len(colors) == 0:
        return dict.fromkeys(COLOR_KEYS)
    high, low = colors.amax(-1), colors.amin(-1)
    saturation = (high - low) / high.clamp_min(1e-6)
    clipped = (low <= LIMIT) | (high >= 1 - LIMIT)
    return {"saturation": float(saturation.mean()), "clipped": float(clipped.double().mean())}


def mesh_flaws(mesh: Mesh | None, seen: SurfaceViews | None) -> dict[str, Any]:
    """Pathologies of a mesh and of its views; without a mesh all views are empty."""
    flaws: dict[str, Any] = shape_flaws(mesh)
    if seen is None:
        return flaws | {"emptiness": 1.0} | dict.fromkeys(COLOR_KEYS)
    return flaws | {"emptiness": emptiness(seen.mask)} | color_flaws(seen.base_color[seen.mask[..., 0] > 0])
