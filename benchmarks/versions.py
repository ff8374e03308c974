"""Whether threefusion works with the oldest and with the newest versions that setup.py admits.

    python -m benchmarks.versions                                # both ends
    python -m benchmarks.versions oldest --with torch==2.13.0    # with other versions of some packages

Installs them into temporary environments; with torch's CUDA packages that takes 6 GB of disk. The check compares embeddings of
the bundled models with stored numbers, trains three steps of the quickstart, and runs the tests of models from folders and hubs.
"""

from __future__ import annotations

import argparse
import ast
import os
import re
import subprocess
import sys
import tempfile
import venv
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).parents[1]
TESTS = ("test_hub.py", "test_reading.py", "test_pretrained_priors.py", "test_embedding_cache.py")
CAPTION = "a red ball, front view"
EMBEDDINGS = {
    "toyworld-pixel": (0.5160, 1.0812, 0.6941, 0.3334),
    "toyworld-latent": (0.7436, 0.7915, 0.1138, 1.3502),
    "toyworld-judge": (-0.0993, 0.1474, 0.1030, 0.1727),
}
"""The first numbers of the second token of `CAPTION`; for the judge, of the pooled embedding."""
RESOLUTIONS = {"oldest": "lowest-direct", "newest": "highest"}
"""Strategies of uv: the lowest versions of what setup.py names, or the highest of everything."""


def requirements(replaced: list[str]) -> list[str]:
    """What setup.py requires, with some requirements replaced by others for the same package."""
    calls = [node for node in ast.walk(ast.parse((ROOT / "setup.py").read_text())) if isinstance(node, ast.keyword)]
    listed = next(ast.literal_eval(node.value) for node in calls if node.arg == "install_requires")
    names = {_name(text) for text in replaced}
    return [text for text in listed if _name(text) not in names] + replaced


def _name(requirement: str) -> str:
    return re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-")


def try_versions(end: str, replaced: list[str]) -> bool:
    """Install one end of all ranges into a new environment and run the check there."""
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "--quiet", "uv"], check=True)
        uv = [Path(folder) / "bin" / "uv", "pip", "install", "--quiet", "--python", python, "--resolution", RESOLUTIONS[end]]
        subprocess.run([*uv, *requirements(replaced)], check=True)
        subprocess.run([*uv[:6], "pytest", "pytest-xdist", "beartype", "hypothesis"], check=True)
        environment = os.environ | {"PYTHONPATH": str(ROOT), "THREEFUSION_CACHE": f"{folder}/cache"}
        done = subprocess.run(
            [python, "-m", "benchmarks.versions", "check", "--out", folder], cwd=ROOT, env=environment, check=False
        )
    print(f"{end}: {'works' if done.returncode == 0 else 'FAILED'}", flush=True)
    return done.returncode == 0


def check(out: Path) -> None:
    """Run what depends on the libraries, in the current environment."""
    import torch

    from threefusion.evaluate.text_image import Judge
    from threefusion.guidance.prior.models import BUNDLED
    from threefusion.guidance.prior.text_encoder import PretrainedTextEncoder

    print(", ".join(f"{name} {version(name)}" for name in sorted(map(_name, requirements([])))))
    for name, expected in EMBEDDINGS.items():
        if name == "toyworld-judge":
            found = Judge(BUNDLED / name).embed_texts([CAPTION])[0]
        else:
            found = PretrainedTextEncoder(BUNDLED / name).encode([CAPTION]).tokens[0, 1]
        torch.testing.assert_close(found[: len(expected)], torch.tensor(expected), rtol=0, atol=2e-4)
    command = ["train", "--config", "configs/quickstart.yaml", "--out", f"{out}/run", "trainer.max_steps=3"]
    subprocess.run([sys.executable, "launch.py", *command, "output.turntable_frames=2"], check=True)
    tests = [f"tests/guidance/{name}" for name in TESTS]
    subprocess.run([sys.executable, "-m", "pytest", "-n", "0", "-p", "no:cacheprovider", *tests], check=True)


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.versions", description=__doc__)
    parser.add_argument("end", nargs="?", choices=["both", *RESOLUTIONS, "check"], default="both")
    parser.add_argument("--with", dest="replaced", action="append", default=[], metavar="REQUIREMENT", help="as torch==2.13.0")
    parser.add_argument("--out", type=Path, help="of `check`, which runs in the current environment")
    options = parser.parse_args()
    if options.end == "check":
        return check(options.out)
    ends = RESOLUTIONS if options.end == "both" else [options.end]
    sys.exit(0 if all([try_versions(end, options.replaced) for end in ends]) else 1)


if __name__ == "__main__":
    main()
