"""The golden run's numbers. `python tests/golden/measure.py` stores them anew, after a change that is meant to move them."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
STORED = HERE / "golden.json"


def measure(folder: Path) -> dict[str, float]:
    """Train in a process with one thread; means over the last twenty steps and over the middle of the final picture."""
    command = [sys.executable, "launch.py", "train", "--config", str(HERE / "golden.yaml"), "--out", str(folder)]
    subprocess.run(command, cwd=HERE.parents[1], env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True, capture_output=True)
    import numpy as np
    from PIL import Image

    rows = list(csv.DictReader((folder / "metrics.csv").open()))[-20:]
    numbers = {name: sum(float(row[name]) for row in rows) / len(rows) for name in ("grad_norm", "opacity", "orientation")}
    red, green, blue = np.asarray(Image.open(folder / "images" / "000060.png"), float)[4:12, 4:12].mean((0, 1)) / 255
    return numbers | {"red": red, "green": green, "blue": blue}


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        STORED.write_text(json.dumps(measure(Path(temporary) / "run"), indent=2) + "\n")
    print(STORED.read_text())
