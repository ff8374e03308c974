"""Physical lengths of settings and options. Loads no torch."""

from __future__ import annotations

import re

UNITS = {"m": 1.0, "cm": 0.01, "mm": 0.001, "in": 0.0254, "ft": 0.3048}
"""Metres of each unit."""
SHORTEST, LONGEST = 1e-4, 1e4
"""Limits of a length in metres."""


def parse_length(text: str) -> float:
    """The metres of a number with a unit.

    >>> [parse_length(text) for text in ("0.3m", "30 cm", "12in")]
    [0.3, 0.3, 0.3048]

    Raises:
        ValueError: it has no number or no unit, or is shorter than a tenth of a millimetre or longer than ten kilometres.
    """
    form = re.fullmatch(rf"\s*(\d+\.?\d*|\.\d+)\s*({'|'.join(UNITS)})\s*", text, re.ASCII | re.IGNORECASE)
    if form is None:
        raise ValueError(f"expected a number with a unit ({', '.join(UNITS)}), such as 0.3m or 12in; got {text!r}")
    metres = round(float(form[1]) * UNITS[form[2].lower()], 12)
    if not SHORTEST <= metres <= LONGEST:
        raise ValueError(f"expected a length between {SHORTEST * 1000:g}mm and {LONGEST:g}m; got {text!r}")
    return metres
