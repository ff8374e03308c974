"""The classes of the toy world and their parts.

+x is the front, +z is up, and objects fit into a ball of radius 0.7. Parts without a colour have the caption's colour. Sizes are
the arguments of the solid in `primitives`; `turn` is a rotation (axis, degrees), applied before the translation to `center`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Part:
    """One solid of an object."""

    solid: str
    size: tuple[float, ...]
    center: tuple[float | int, float | int, float | int] = (0, 0, 0)
    color: str | None = None
    """A name in `palette.FIXED`; None is the caption's colour."""
    turn: tuple[str, float | int] | None = None


def _four(solid: str, size: tuple[float, ...], x: float, y: float, z: float, color: str | None = None) -> list[Part]:
    """The same part at (±x, ±y, z), such as table legs."""
    return [Part(solid, size, (sx * x, sy * y, z), color) for sx in (1, -1) for sy in (1, -1)]


def _pair(part: Part) -> list[Part]:
    """A part and its mirror image in y."""
    x, y, z = part.center
    turn = part.turn if part.turn is None or part.turn[0] == "y" else (part.turn[0], -part.turn[1])
    return [part, Part(part.solid, part.size, (x, -y, z), part.color, turn)]


def _transformed(parts: list[Part], scale: float, height: float, color: str | None = None) -> list[Part]:
    """The parts scaled and moved up; `color` replaces the caption's colour."""
    return [
        replace(
            part,
            size=tuple(scale * length for length in part.size),
            center=(scale * part.center[0], scale * part.center[1], scale * part.center[2] + height),
            color=part.color or color,
        )
        for part in parts
    ]


OBJECTS: dict[str, list[Part]] = {
    "ball": [Part("ball", (0.52,))],
    "cube": [Part("box", (0.38, 0.38, 0.38, 0.03))],
    "cone": [Part("cone", (0.44, 0.012, 0.54), (0, 0, 0))],
    "cylinder": [Part("cylinder", (0.34, 0.50, 0.02))],
    "donut": [
        Part("torus", (0.40, 0.19), (0, 0, -0.03), "wafer"),
        Part("torus", (0.40, 0.185), (0, 0, 0.03)),
    ],
    "mug": [
        Part("cylinder", (0.33, 0.42, 0.03), (0, -0.08, 0)),
        Part("cylinder", (0.27, 0.02), (0, -0.08, 0.415), "ink"),
        Part("torus", (0.22, 0.055), (0, 0.29, 0), None, ("y", 90)),
    ],
    "snowman": [
        Part("ball", (0.32,), (0, 0, -0.36), "snow"),
        Part("ball", (0.24,), (0, 0, 0.06), "snow"),
        Part("ball", (0.18,), (0, 0, 0.36), "snow"),
        Part("torus", (0.17, 0.06), (0, 0, 0.22)),
        Part("cylinder", (0.22, 0.02), (0, 0, 0.48)),
        Part("cylinder", (0.14, 0.10), (0, 0, 0.57)),
        Part("cone", (0.045, 0.01, 0.12), (0.27, 0, 0.36), "carrot", ("y", 90)),
        *_pair(Part("ball", (0.032,), (0.155, 0.07, 0.42), "ink")),
        Part("ball", (0.032,), (0.235, 0, 0.10), "ink"),
        Part("ball", (0.032,), (0.235, 0, 0.00), "ink"),
    ],
    "table": [
        Part("box", (0.50, 0.37, 0.045, 0.01), (0, 0, 0.27)),
        *_four("cylinder", (0.045, 0.27), 0.42, 0.29, -0.03),
    ],
    "chair": [
        Part("box", (0.27, 0.27, 0.045, 0.01), (0, 0, -0.06)),
        Part("box", (0.04, 0.27, 0.31, 0.01), (-0.23, 0, 0.25)),
        *_four("cylinder", (0.045, 0.24), 0.22, 0.22, -0.32),
    ],
    "mushroom": [
        Part("bowl", (0.50, 0.50, 0.40), (0, 0, 0.08), None, ("x", 180)),
        Part("cone", (0.17, 0.13, 0.32), (0, 0, -0.22), "cream"),
        *[
            Part("ball", (0.075,), (x, y, z), "snow")
            for x, y, z in ((0.40, 0.0, 0.28), (0.10, 0.38, 0.28), (-0.33, 0.22, 0.28), (-0.30, -0.26, 0.28), (0.13, -0.37, 0.28))
        ],
        Part("ball", (0.09,), (0.03, 0.02, 0.45), "snow"),
    ],
    "ice cream cone": [
        Part("cone", (0.012, 0.26, 0.40), (0, 0, -0.24), "wafer"),
        Part("torus", (0.25, 0.05), (0, 0, 0.18)),
        Part("ball", (0.30,), (0, 0, 0.32)),
    ],
    "rocket": [
        Part("cylinder", (0.19, 0.32), (0, 0, -0.06), "snow"),
        Part("cone", (0.19, 0.012, 0.21), (0, 0, 0.46)),
        Part("cone", (0.17, 0.09, 0.06), (0, 0, -0.42), "iron"),
        *[
            Part("box", (0.12, 0.03, 0.16, 0.01), (x, y, -0.34), None, ("z", a))
            for x, y, a in ((0.26, 0, 0), (-0.26, 0, 0), (0, 0.26, 90), (0, -0.26, 90))
        ],
        Part("ball", (0.085,), (0.155, 0, 0.12), "glass"),
    ],
    "house": [
        Part("box", (0.34, 0.38, 0.24), (0, 0, -0.24), "cream"),
        Part("wedge", (0.44, 0.44, 0.22), (0, 0, 0.20)),
        Part("box", (0.02, 0.09, 0.15), (0.34, 0.12, -0.33), "wood"),
        Part("box", (0.02, 0.09, 0.08), (0.34, -0.18, -0.20), "glass"),
        *_pair(Part("box", (0.10, 0.02, 0.08), (0, 0.38, -0.20), "glass")),
        Part("box", (0.06, 0.06, 0.15), (-0.18, -0.20, 0.36), "clay"),
    ],
    "tree": [
        Part("cylinder", (0.09, 0.15), (0, 0, -0.50), "wood"),
        Part("cone", (0.44, 0.16, 0.17), (0, 0, -0.22)),
        Part("cone", (0.35, 0.11, 0.17), (0, 0, 0.09)),
        Part("cone", (0.25, 0.01, 0.20), (0, 0, 0.43)),
    ],
    "car": [
        Part("box", (0.58, 0.26, 0.13, 0.06), (0, 0, -0.08)),
        Part("box", (0.29, 0.22, 0.14, 0.06), (-0.06, 0, 0.15)),
        Part("box", (0.24, 0.225, 0.07, 0.01), (-0.06, 0, 0.15), "glass"),
        Part("box", (0.295, 0.17, 0.07, 0.01), (-0.06, 0, 0.15), "glass"),
        *[Part("cylinder", (0.135, 0.05), (x, y, -0.19), "ink", ("x", 90)) for x in (0.34, -0.34) for y in (0.24, -0.24)],
        *_pair(Part("ball", (0.06,), (0.55, 0.16, -0.05), "lemon")),
        *_pair(Part("ball", (0.05,), (-0.56, 0.17, -0.05), "ruby")),
    ],
    "lamp": [
        Part("cylinder", (0.24, 0.035, 0.01), (0, 0, -0.56), "wood"),
        Part("cylinder", (0.04, 0.36), (0, 0, -0.22), "wood"),
        Part("cone", (0.40, 0.20, 0.23), (0, 0, 0.33)),
    ],
    "bunny": [
        Part("ellipsoid", (0.34, 0.25, 0.27), (-0.10, 0, -0.30)),
        Part("ball", (0.21,), (0.16, 0, 0.06)),
        *_pair(Part("ellipsoid", (0.05, 0.075, 0.24), (0.10, 0.11, 0.40))),
        Part("ball", (0.11,), (-0.44, 0, -0.22), "snow"),
        *_pair(Part("ball", (0.035,), (0.335, 0.08, 0.11), "ink")),
        Part("ball", (0.035,), (0.365, 0, 0.03), "rose"),
        *_pair(Part("ellipsoid", (0.14, 0.08, 0.06), (0.16, 0.13, -0.52))),
    ],
    "robot": [
        Part("box", (0.16, 0.24, 0.24, 0.02), (0, 0, 0.00)),
        Part("box", (0.14, 0.16, 0.13, 0.02), (0, 0, 0.40), "steel"),
        *_pair(Part("ball", (0.045,), (0.135, 0.07, 0.43), "lemon")),
        Part("box", (0.02, 0.08, 0.018), (0.135, 0, 0.34), "ink"),
        *_pair(Part("box", (0.07, 0.06, 0.22, 0.02), (0, 0.32, 0.0), "steel")),
        *_pair(Part("box", (0.10, 0.08, 0.18, 0.02), (0.02, 0.12, -0.42), "iron")),
        Part("box", (0.02, 0.12, 0.07), (0.155, 0, 0.06), "snow"),
        Part("ball", (0.045,), (0, 0, 0.60), "ruby"),
        Part("cylinder", (0.02, 0.05), (0, 0, 0.55), "iron"),
    ],
    "duck": [
        Part("ellipsoid", (0.42, 0.28, 0.25), (-0.08, 0, -0.22)),
        Part("ellipsoid", (0.16, 0.11, 0.10), (-0.48, 0, -0.08), None, ("y", 40)),
        Part("ball", (0.22,), (0.24, 0, 0.20)),
        Part("ellipsoid", (0.14, 0.10, 0.045), (0.47, 0, 0.17), "carrot"),
        *_pair(Part("ball", (0.035,), (0.39, 0.12, 0.28), "ink")),
        *_pair(Part("ellipsoid", (0.22, 0.06, 0.14), (-0.10, 0.26, -0.18))),
    ],
    "airplane": [
        Part("capsule", (0.13, 0.46), (0, 0, 0), None, ("y", 90)),
        Part("box", (0.13, 0.62, 0.025, 0.01), (0.04, 0, -0.02), "steel"),
        Part("box", (0.08, 0.26, 0.022, 0.01), (-0.50, 0, 0.04), "steel"),
        Part("box", (0.09, 0.025, 0.16, 0.01), (-0.50, 0, 0.20)),
        Part("ellipsoid", (0.12, 0.09, 0.09), (0.36, 0, 0.08), "glass"),
        *_pair(Part("capsule", (0.06, 0.09), (0.10, 0.30, -0.08), "iron", ("y", 90))),
    ],
    "boat": [
        Part("bowl", (0.60, 0.27, 0.30), (0, 0, -0.20)),
        Part("cylinder", (0.03, 0.42), (0.06, 0, 0.20), "wood"),
        Part("wedge", (0.26, 0.02, 0.32), (-0.06, 0, 0.24), "snow"),
        Part("box", (0.12, 0.12, 0.07, 0.01), (-0.34, 0, -0.16), "cream"),
    ],
    "cactus": [
        Part("capsule", (0.15, 0.34), (0, 0, 0.12)),
        Part("capsule", (0.075, 0.13), (0, 0.23, 0.02), None, ("x", 90)),
        Part("capsule", (0.075, 0.12), (0, 0.35, 0.14)),
        Part("capsule", (0.075, 0.13), (0, -0.23, 0.14), None, ("x", 90)),
        Part("capsule", (0.075, 0.12), (0, -0.35, 0.26)),
        Part("cone", (0.20, 0.29, 0.18), (0, 0, -0.46), "clay"),
        Part("ball", (0.08,), (0.02, 0, 0.60), "rose"),
    ],
    "teapot": [
        Part("ellipsoid", (0.36, 0.36, 0.30), (0, 0, -0.10)),
        Part("cylinder", (0.22, 0.03), (0, 0, -0.38)),
        Part("cylinder", (0.18, 0.03, 0.01), (0, 0, 0.19), "iron"),
        Part("ball", (0.075,), (0, 0, 0.27), "iron"),
        Part("capsule", (0.07, 0.16), (0, 0.44, 0.0), None, ("x", -40)),
        Part("torus", (0.17, 0.045), (0, -0.40, -0.06), None, ("y", 90)),
    ],
    "sofa": [
        Part("box", (0.26, 0.46, 0.14, 0.03), (0.02, 0, -0.24)),
        Part("box", (0.10, 0.46, 0.30, 0.04), (-0.22, 0, 0.02)),
        *_pair(Part("box", (0.27, 0.09, 0.22, 0.04), (0.0, 0.46, -0.16))),
        *_pair(Part("box", (0.20, 0.17, 0.045, 0.02), (0.07, 0.185, -0.08), "cream")),
        *_four("cylinder", (0.04, 0.04), 0.20, 0.45, -0.40, "wood"),
    ],
}
"""Parts of the single objects by name."""

COMPOSITIONS: dict[str, list[Part]] = {
    "bunny on pancakes": [
        *_transformed(OBJECTS["bunny"], 0.70, 0.14),
        *[Part("cylinder", (r, 0.05, 0.03), (0, 0, z), "wafer") for r, z in ((0.40, -0.51), (0.38, -0.41), (0.40, -0.31))],
        Part("box", (0.07, 0.07, 0.03, 0.01), (0.27, 0, -0.24), "lemon"),
    ],
    "mug on a table": [
        *_transformed(OBJECTS["mug"], 0.60, 0.31),
        *_transformed(OBJECTS["table"], 0.85, -0.20, "wood"),
    ],
    "snowman with a scarf": [
        Part("ball", (0.34,), (0, 0, -0.32), "snow"),
        Part("ball", (0.25,), (0, 0, 0.40), "snow"),
        Part("torus", (0.20, 0.10), (0, 0, 0.11)),
        Part("box", (0.05, 0.09, 0.19, 0.02), (0.30, 0.12, -0.09), None, ("y", 12)),
        Part("cone", (0.055, 0.01, 0.12), (0.34, 0, 0.40), "carrot", ("y", 90)),
        *_pair(Part("ball", (0.04,), (0.21, 0.09, 0.49), "ink")),
        *_pair(Part("capsule", (0.03, 0.16), (0, 0.44, -0.10), "wood", ("x", 55))),
    ],
    "robot with a hat": [
        *_transformed(OBJECTS["robot"][1:-2], 0.88, -0.09, "steel"),
        Part("box", (0.15, 0.21, 0.21, 0.02), (0, 0, -0.09), "steel"),
        Part("cylinder", (0.26, 0.025, 0.01), (0, 0, 0.39)),
        Part("cylinder", (0.16, 0.13, 0.01), (0, 0, 0.52)),
    ],
}
"""Combinations of objects, and objects of which only one part has the caption's colour."""

CLASSES = OBJECTS | COMPOSITIONS
"""All classes by name."""

PAINTED = {"snowman with a scarf": "snowman with a {} scarf", "robot with a hat": "robot with a {} hat"}
"""Position of the colour in the name, if not in front."""


def colored(noun: str, color: str) -> str:
    """Noun with colour, without article: "red bunny", "snowman with a red scarf"."""
    return PAINTED.get(noun, "{} " + noun).format(color)


SYNONYMS = {
    "sphere": "ball", "doughnut": "donut", "cup": "mug", "ice cream": "ice cream cone", "rabbit": "bunny", "couch": "sofa",
    "plane": "airplane", "sailboat": "boat", "bunny on a stack of pancakes": "bunny on pancakes",
}  # fmt: skip
"""Synonyms of class names, used in some captions."""

CONVEX = ("ball", "cube", "cone", "cylinder")
"""Convex classes, for which the bounding ellipsoid is a strong baseline."""

ROUND = (*CONVEX, "donut", "mushroom", "ice cream cone", "tree", "lamp", "table", "cactus")
"""Classes that look the same from front, side and back."""
