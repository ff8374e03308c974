"""What a step costs with a viewer: with nobody looking, and with somebody orbiting, against without.

    python -m benchmarks.viewer
    python -m benchmarks.viewer --rounds 10 --steps 60 --browser FOLDER_WITH_PUPPETEER_CORE

One training, in turns of so many steps: the page is not served, is served with nobody there, is orbited. Who orbits is a process
that sends thirty cameras a second and throws the pictures away, or with --browser a headless Chromium, which draws them with the
same processors. Prints the medians over the rounds of the ratios of two turns of the same round, and exits with 1 if one is above
its bar. The process is started before the first turn, the browser before each of its own; neither start is measured.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from math import cos, sin
from pathlib import Path
from statistics import median
from threading import Thread
from typing import Any

import msgspec
import pytorch_lightning as pl

from threefusion.callback import live
from threefusion.config import load_config
from threefusion.machine.process import prepare_process
from threefusion.run.folder import new_run
from threefusion.run.training import train

BARS = {"nobody looks": 1.02, "somebody orbits": 1.15}
"""Largest ratios to a step without a viewer."""
WITHOUT = "without"
WARM = 20
"""Steps before the first turn."""
ORBIT = Path(__file__).with_name("viewer_orbit.mjs")


class Turns(live.Live):
    """The live page, which is served in some turns and not in others; measures the steps of each."""

    steps, rounds, orbiter = 50, 5, ["true"]

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.link = ""
        self.seconds: dict[str, list[float]] = {kind: [] for kind in (WITHOUT, *BARS)}
        self.turn, self._begun, self._process = WITHOUT, 0.0, None

    def on_train_batch_start(self, trainer: pl.Trainer, module: Any, batch: Any, batch_idx: int) -> None:
        """Begin the next turn when it is time to."""
        step = trainer.global_step - WARM
        if step >= 0 and step % self.steps == 0:
            if step:
                self.seconds[self.turn].append(time.perf_counter() - self._begun)
            self.turn = list(self.seconds)[step // self.steps % len(self.seconds)]
            self._come_or_go(trainer, module, batch, batch_idx)
            self._begun = time.perf_counter()
        if step < 0 or self.turn == WITHOUT:
            self.left = time.monotonic()
            return
        super().on_train_batch_start(trainer, module, batch, batch_idx)

    def _come_or_go(self, *arguments: Any) -> None:
        """Wait until somebody looks, or nobody does any more."""
        wanted = self.turn == "somebody orbits"
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
        self._process = subprocess.Popen([*self.orbiter, self.viewer._site.link.split()[0]]) if wanted else None
        while bool(len(self.onlookers)) != wanted:
            time.sleep(0.05)
            super().on_train_batch_start(*arguments)

    def close(self) -> None:
        """Print the ratios."""
        if self._process is not None:
            self._process.terminate()
        super().close()
        rounds = min(map(len, self.seconds.values()))
        failed = False
        for kind, bar in BARS.items() if rounds else ():
            ratios = sorted(self.seconds[kind][i] / self.seconds[WITHOUT][i] for i in range(rounds))
            step = 1000 * median(self.seconds[kind]) / self.steps
            spread = f"{ratios[0]:.3f} to {ratios[-1]:.3f}"
            print(f"{kind}: {median(ratios):.3f} ({spread}) times a step without, bar {bar}; {step:.1f} ms a step")
            failed |= median(ratios) > bar
        print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        Turns.failed = failed


def orbit(link: str) -> None:
    """Send thirty cameras a second to the page at `link`."""
    import viser
    from websockets.sync.client import connect

    address = f"ws{link.removeprefix('http').rstrip('/')}"

    def drain() -> None:
        with suppress(Exception):
            while True:
                page.recv()

    with connect(address, subprotocols=[f"viser-v{viser.__version__}"], compression=None, max_size=None, proxy=None) as page:
        Thread(target=drain, daemon=True).start()
        while True:
            half = 0.25 * time.monotonic()
            # looks along -x at the origin, turned about +z by twice `half`
            less, more = 0.5 * (cos(half) - sin(half)), 0.5 * (cos(half) + sin(half))
            wxyz = (less, -less, -more, more)
            position = (2.5 * cos(2 * half), 2.5 * sin(2 * half), 0.0)
            message = {
                "type": "ViewerCameraMessage", "wxyz": wxyz, "position": position, "fov": 0.8, "near": 0.1, "far": 10.0,
                "image_height": 800, "image_width": 1200, "look_at": (0.0, 0.0, 0.0), "up_direction": (0.0, 0.0, 1.0),
            }  # fmt: skip
            page.send(msgspec.msgpack.encode(message))
            time.sleep(1 / 30)


def main() -> int:
    """Train, and print what was measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("configs/quickstart.yaml"))
    parser.add_argument("--steps", type=int, default=50, help="of a turn")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--browser", type=Path, metavar="DIR", help="a folder with puppeteer-core of npm")
    parser.add_argument("--orbit", metavar="LINK", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.orbit:
        orbit(arguments.orbit)
        return 0
    prepare_process()
    Turns.steps, Turns.failed = arguments.steps, False
    Turns.orbiter = [sys.executable, "-m", "benchmarks.viewer", "--orbit"]
    if arguments.browser:
        Turns.orbiter = ["node", str(ORBIT), str(arguments.browser), str(shutil.which("chromium"))]
    live.Live = Turns
    steps = WARM + (1 + len(BARS)) * arguments.steps * arguments.rounds + 1
    overrides = [
        "viewer.type=viser",
        "viewer.port=0",
        f"trainer.max_steps={steps}",
        "exporter=null",
        "prompt.text=a red mushroom",
    ]
    never = ["output.image_interval=1000000", "output.checkpoint_interval=1000000", "facing.steps=[]"]
    config = load_config(arguments.config, [*overrides, *never])
    with tempfile.TemporaryDirectory() as folder, new_run(config, Path(folder) / "run") as run:
        train(config, run)
    return int(Turns.failed)


if __name__ == "__main__":
    sys.exit(main())
