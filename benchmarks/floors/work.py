"""The least work of an operation, and how long that takes at the measured rates of a machine."""

from __future__ import annotations

from dataclasses import dataclass

from threefusion.perf.scene import FEATURES, GRID, HIDDEN, LEVELS, OUTPUTS

FLOAT, INDEX = 4, 8
"""Bytes of a float32 and of an int64."""
PASSES = 5
"""How often an activation passes memory in training when everything around it is fused: written, read by the next operation, read
again in the backward pass; its gradient written and read."""
ADAM_BYTES = 7 * FLOAT
"""Per parameter: parameter, gradient and both moments are read, and all but the gradient are written."""
CORNERS = 8
"""Rows that a trilinear interpolation reads in each grid."""


@dataclass(frozen=True)
class Rates:
    """Work per second that a machine was measured to do, with as many threads as the operation has."""

    gemm: dict[str, float]
    """Floating-point operations of large matrix products, by data type."""
    gather: float
    """Rows of two float32 read at random from a table that stays in a core's second-level cache."""
    update: float
    """Such rows read, added to and written."""
    copy: float
    """Bytes read and bytes written, both counted, by copying an array that does not fit into that cache."""


@dataclass(frozen=True)
class Work:
    """Counts of what cannot be avoided."""

    flops: int = 0
    """In matrix products; a multiplication and an addition are two."""
    dtype: str = "float32"
    """Of the matrix products."""
    gathers: int = 0
    updates: int = 0
    traffic: int = 0
    """Bytes of arrays read and written."""

    def floor_ms(self, rates: Rates) -> float:
        """flops / GEMM rate + gathers / gather rate + updates / update rate + traffic / copy rate, in milliseconds.

        A sum and not the largest of the four: they keep the same cores busy.
        """
        seconds = self.gathers / rates.gather + self.updates / rates.update + self.traffic / rates.copy
        return 1000 * (seconds + (self.flops / rates.gemm[self.dtype] if self.flops else 0))


@dataclass(frozen=True)
class Field:
    """Sizes of a hash grid and of the network behind it, one hidden layer."""

    levels: int
    features: int
    hidden: int
    outputs: int
    rows: int
    """Of the whole table."""

    @property
    def encoded(self) -> int:
        """Numbers between grid and network."""
        return self.levels * self.features

    @property
    def widths(self) -> tuple[int, int, int]:
        """Of the network's layers."""
        return (self.encoded, self.hidden, self.outputs)

    def touched(self, points: int) -> int:
        """Rows that the interpolation of so many points reads, or its backward pass updates."""
        return points * self.levels * CORNERS


FIELD = Field(LEVELS, FEATURES, HIDDEN, OUTPUTS, GRID.rows)
"""The field of the fixed scene."""


def encode_work(field: Field, points: int, backward: bool) -> Work:
    """Points read, encoding written; backward, points and cotangent read, the table's gradient written."""
    forward = FLOAT * points * (3 + field.encoded)
    if not backward:
        return Work(gathers=field.touched(points), traffic=forward)
    gradient = FLOAT * (points * (3 + field.encoded) + field.rows * field.features)
    return Work(gathers=field.touched(points), updates=field.touched(points), traffic=forward + gradient)


def pull_work(field: Field, points: int) -> Work:
    """Points and cotangent read, the gradient in the points written."""
    return Work(gathers=field.touched(points), traffic=FLOAT * points * (3 + field.encoded + 3))


def mlp_flops(widths: tuple[int, int, int], points: int, backward: bool = True, normals: bool = False) -> int:
    """2 flops per weight and point forward; 4 backward, to the weights and to the inputs.

    Normals take the gradient of an output in the inputs (2), and the backward pass of that: to the weights and the cotangent of
    the first layer (4), and to the weights of the last (2), whose own cotangent is a constant.
    """
    first, last = widths[0] * widths[1], widths[1] * widths[2]
    per_point = (6 if backward else 2) * (first + last)
    return points * (per_point + (2 * (first + last) + 4 * first + 2 * last if normals else 0))


def mlp_work(widths: tuple[int, int, int], points: int, dtype: str, backward: bool) -> Work:
    """Its matrix products, and its activations written and read forward, or `PASSES` times in training."""
    size = FLOAT if dtype == "float32" else FLOAT // 2
    traffic = (PASSES if backward else 2) * size * points * sum(widths)
    return Work(mlp_flops(widths, points, backward), dtype, traffic=traffic)


def march_work(candidates: int, samples: int) -> Work:
    """A look at the occupancy grid for every step inside the ball; begin, end and ray of every kept sample written."""
    return Work(gathers=candidates, traffic=samples * (2 * FLOAT + INDEX))


def composite_work(samples: int, channels: int) -> Work:
    """Weights and weighted sums, forward and backward, per sample.

    Forward: optical depth, ray and values read, weight written. Backward: weight, ray and values read, two gradients written.
    """
    forward = FLOAT * (1 + channels + 1) + INDEX
    backward = FLOAT * (1 + channels + channels + 1) + INDEX
    return Work(traffic=samples * (forward + backward))


def rasterize_work(faces: int, covered: int, pixels: int) -> Work:
    """Three vertices read per face, a depth updated per pixel that a face covers; face, weights and depth written per pixel."""
    return Work(gathers=3 * faces, updates=covered, traffic=pixels * (INDEX + 4 * FLOAT))


def step_work(field: Field, samples: int, candidates: int, parameters: int, normals: bool) -> Work:
    """A step of the fixed scene: march, field, compositing, the backward passes of all, Adam.

    What lies between its parts passes memory `PASSES` times: encoding, hidden layer, outputs, weight and five composited channels
    of each sample. Normals add the cotangents of encoding and hidden layer, the normal, a pull to the points, and the backward
    pass of that, which gathers the cotangent's gradient and updates the table's once more.
    """
    touched, between = field.touched(samples), sum(field.widths) + 1 + 5
    if normals:
        between += field.hidden + field.encoded + 3
    march = march_work(candidates, samples)
    return Work(
        mlp_flops(field.widths, samples, normals=normals),
        gathers=touched * (3 if normals else 1) + march.gathers,
        updates=touched * (2 if normals else 1),
        traffic=PASSES * FLOAT * samples * between + march.traffic + ADAM_BYTES * parameters,
    )
