"""Normals as the image."""

from __future__ import annotations

from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor

from threefusion.material.material import Material
from threefusion.material.settings import NormalConfig
from threefusion.types import FieldSample, Lights


class NormalMaterial(Material):
    """(n + 1) / 2 in every view: the image of Fantasia3D's geometry stage (arXiv 2303.13873); it reads no features."""

    feature_width: ClassVar[int] = 0

    def __init__(self, cfg: NormalConfig) -> None:
        super().__init__(cfg)
        self.reads_axes = cfg.space

    def needs_normal(self, shading: Int[Tensor, "B"]) -> bool:
        """Always."""
        return True

    def forward(self, sample: FieldSample, light: Lights, shading: Int[Tensor, "N"]) -> Float[Tensor, "N 3"]:
        """The normal as a colour, grey where there is none."""
        if sample.normal is None:
            return self._grey(sample)
        return 0.5 * (sample.axes * sample.normal[:, :, None]).sum(1) + 0.5

    def textures(self, sample: FieldSample) -> dict[str, Float[Tensor, "N C"]]:
        """Grey: the shape has no colour yet."""
        return {"base_color": self._grey(sample)}

    def _grey(self, sample: FieldSample) -> Float[Tensor, "N 3"]:
        return sample.features.new_full((len(sample.features), 3), 0.5)
