"""What an edit has changed: `python -m benchmarks.edited SOURCE_RUN EDITED_RUN`.

Prints the mean hue of both in eight views, weighted by saturation and brightness, and the intersection over union of their
silhouettes.
"""

from __future__ import annotations

import argparse
import cmath
import colorsys
from math import degrees, tau
from pathlib import Path
from typing import TYPE_CHECKING

from threefusion.machine.process import prepare_process

if TYPE_CHECKING:
    from threefusion.types import RenderOutput


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs=2, type=Path, metavar="RUN")
    prepare_process()
    source, edited = (render_of(run) for run in parser.parse_args().runs)
    one, other = (render.opacity > 0.5 for render in (source, edited))
    overlap = int((one & other).sum()) / int((one | other).sum())
    print(f"hue {mean_hue(source):.0f}° -> {mean_hue(edited):.0f}°, intersection over union {overlap:.2f}")


def render_of(run: Path) -> RenderOutput:
    """Eight views all round."""
    import torch

    from threefusion.camera.orbit import orbit_views
    from threefusion.run.results import load_scene

    _, scene, renderer, _ = load_scene(run)
    with torch.no_grad():
        return renderer(scene, orbit_views(8, elevation=0.3, distance=2.0, fovy=0.8, height=64, width=64))


def mean_hue(render: RenderOutput) -> float:
    """The circular mean of the hues of opaque pixels, in degrees."""
    colors = render.image[render.opacity[..., 0] > 0.5].clamp(0, 1).tolist()
    hues = [(tau * hue, saturation * value) for hue, saturation, value in (colorsys.rgb_to_hsv(*color) for color in colors)]
    return degrees(cmath.phase(sum(cmath.rect(weight, angle) for angle, weight in hues))) % 360


if __name__ == "__main__":
    main()
