"""Colours of the toy world: twelve named in captions, and others for fixed parts."""

from __future__ import annotations

COLORS: dict[str, tuple[float, float, float]] = {
    "red": (0.86, 0.12, 0.12),
    "green": (0.14, 0.62, 0.20),
    "blue": (0.13, 0.27, 0.86),
    "yellow": (0.95, 0.83, 0.14),
    "orange": (0.96, 0.52, 0.08),
    "purple": (0.50, 0.15, 0.68),
    "pink": (0.96, 0.55, 0.73),
    "brown": (0.46, 0.27, 0.13),
    "black": (0.09, 0.09, 0.10),
    "white": (0.94, 0.94, 0.94),
    "grey": (0.52, 0.52, 0.54),
    "cyan": (0.12, 0.76, 0.82),
}
"""sRGB-encoded, in [0, 1]."""

FIXED: dict[str, tuple[float, float, float]] = {
    "ink": (0.06, 0.06, 0.07),
    "snow": (0.95, 0.95, 0.96),
    "steel": (0.62, 0.64, 0.67),
    "iron": (0.30, 0.31, 0.34),
    "wood": (0.43, 0.27, 0.15),
    "wafer": (0.83, 0.62, 0.35),
    "cream": (0.93, 0.87, 0.74),
    "glass": (0.55, 0.78, 0.92),
    "carrot": (0.97, 0.50, 0.10),
    "lemon": (0.99, 0.90, 0.35),
    "rose": (0.96, 0.55, 0.65),
    "ruby": (0.75, 0.08, 0.10),
    "clay": (0.72, 0.38, 0.22),
}
"""sRGB-encoded, in [0, 1]."""

COLOR_SYNONYMS = {"gray": "grey", "violet": "purple", "turquoise": "cyan"}
