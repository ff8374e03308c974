"""Compares what `plan` predicts with the memory that training, turntable, export and evaluation of the same config take.

    python benchmarks/memory.py [CONFIG ...]

Every command is a process of its own with an empty cache of text embeddings. Models that are not bundled are replaced by small
random ones of the same layout, and their runs are cut to one lit step. On a GPU both numbers are torch's, else resident memory.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
ONE_LIT_STEP = ["camera.albedo_steps=0", "trainer.max_steps=1", "output.turntable_frames=2"]
CASES = {
    "quickstart": (None, []),
    "quickstart-latent": (None, []),
    "quickstart-two-stage": (None, []),
    "dreamfusion-sd": ("save_tiny_sd", ONE_LIT_STEP),
    "dreamfusion-if": ("save_tiny_if", ONE_LIT_STEP),
    "dreamfusion-paper": ("save_tiny_if", ONE_LIT_STEP),
}
"""Config -> what makes its model, and overrides."""
MEASURED = """
import sys, torch
from threefusion.cli.main import run
code = run(sys.argv[2:])
from threefusion.machine.memory import peak_bytes
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
open(sys.argv[1], "w").write(str(peak_bytes(device)))
sys.exit(code)
"""


def compare(name: str, folder: Path) -> tuple[float, float]:
    """Predicted and measured bytes of a shipped config."""
    model, overrides = CASES[name]
    if model:
        sys.path.insert(0, str(ROOT / "tests" / "guidance"))
        import tiny

        overrides = [*overrides, f"guidance.prior.model={getattr(tiny, model)(folder / 'model')}"]
    config = str(ROOT / "configs" / f"{name}.yaml")
    plan = subprocess.check_output([sys.executable, "-m", "threefusion", "plan", config, *overrides, "--json"], cwd=ROOT)
    words = ["train", "--config", config, "--out", str(folder / "run"), "--anyway", *overrides]
    environment = {**os.environ, "THREEFUSION_CACHE": str(folder / "cache")}
    with (folder / "log").open("wb") as log:
        command = [sys.executable, "-c", MEASURED, str(folder / "peak"), *words]
        subprocess.run(command, cwd=ROOT, env=environment, stdout=log, stderr=log, check=True)
    return json.loads(plan)["peak"], float((folder / "peak").read_text())


def main() -> None:
    """Print a row per config."""
    print("| config | predicted | measured | ratio |\n|---|---|---|---|")
    for name in sys.argv[1:] or CASES:
        with tempfile.TemporaryDirectory() as folder:
            predicted, measured = compare(name, Path(folder))
        print(f"| {name} | {predicted / 1e6:.0f} MB | {measured / 1e6:.0f} MB | {predicted / measured:.2f} |", flush=True)


if __name__ == "__main__":
    main()
