"""The base class of materials."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from threefusion.component import Component
from threefusion.types import FieldSample, Lights, RenderOutput

MARGIN = 1.5e-3
"""Distance from 0 and 1 of values that are turned into features, whose logits would be infinite: under half a step of a byte."""


class Material(Component):
    """Turns a point's features into the colour that a camera sees."""

    kind: ClassVar[str] = "material"
    feature_width: int
    """How many features the geometry has to provide."""
    channels: ClassVar[int] = 3
    """Width of what `forward` returns, which renderers composite."""
    unlit_reads_features: ClassVar[bool] = False
    """Whether `forward` reads `sample.features` alone where no view needs normals: neither directions nor lights nor shadings."""
    reads_axes: Literal["camera", "world"] | None = None
    """The axes that `forward` reads from `sample.axes`. Everything else it sees is in the axes of the geometry."""

    @abstractmethod
    def needs_normal(self, shading: Int[Tensor, "B"]) -> bool:
        """Whether views shaded in these ways (values of `Shading`, on the CPU) need normals."""

    @abstractmethod
    def forward(self, sample: FieldSample, light: Lights, shading: Int[Tensor, "N"]) -> Float[Tensor, "N C"]:
        """sRGB-encoded colours of samples, each under its own light and seen along its own direction."""

    def is_unlit(self, shading: Int[Tensor, "B"]) -> bool:
        """Whether views shaded in these ways show functions of the features alone."""
        return self.unlit_reads_features and not self.needs_normal(shading)

    def behind(self, color: Float[Tensor, "R 3"]) -> Float[Tensor, "R C"]:
        """Colours of a background in the channels of `forward`."""
        return color

    def developed(self, render: RenderOutput) -> RenderOutput:
        """A render of other channels than colours, with colours as its image; called where `channels` is not 3."""
        return render

    @abstractmethod
    def textures(self, sample: FieldSample) -> dict[str, Float[Tensor, "N C"]]:
        """The textures that an exporter bakes, by glTF name, from features, and from normals if there are any.

        `base_color` [N 3], sRGB-encoded, always. Some have `metallic_roughness` [N 3], which is occlusion (1), roughness and
        metallic, and `normal` [N 3], the unit shading normal.
        """

    @property
    def texture_features(self) -> dict[str, slice]:
        """The features behind each texture, by glTF name."""
        return {"base_color": slice(0, self.feature_width)}

    def features_of(self, textures: dict[str, Float[Tensor, "N C"]]) -> Float[Tensor, "N D"]:
        """Features that show these textures, of which only `base_color` has to be given: the inverse of `textures`.

        The logits of the base colour, and 0 for all other features.
        """
        color = logits(textures["base_color"])
        return pad(color, (0, self.feature_width - 3))


def logits(values: Float[Tensor, "N C"]) -> Float[Tensor, "N C"]:
    """Finite logits of values in [0, 1]."""
    return torch.logit(values.clamp(0, 1), MARGIN)
