"""Stands in for `launch.py`: a training that counts to max_steps and an evaluation, with the real ones' files and exit codes.

The numbers are a pure function of the resolved config, as those of real runs are. Some prompts go wrong on purpose.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from pathlib import Path

import yaml

from threefusion.bench.program import serve

STEP_SECONDS = float(os.environ.get("FAKE_STEP_SECONDS", "0.01"))


def train(words: list[str]) -> int:
    """Count, with a checkpoint per step."""
    if words[0] == "--resume":
        run = Path(words[1])
    else:
        run = Path(words[3])
        (run / "checkpoints").mkdir(parents=True)
        (run / "config.yaml").write_bytes(Path(words[1]).read_bytes())
    config = yaml.safe_load((run / "config.yaml").read_text())
    prompt = config["prompt"]["text"]
    stop = []
    before = signal.signal(signal.SIGTERM, lambda *_: stop.append(True))
    saved = sorted((run / "checkpoints").glob("step-*.ckpt"))
    first = int(saved[-1].stem.split("-")[1]) if saved else 0
    value = float(saved[-1].read_text()) if saved else 0.0
    for step in range(first + 1, config["trainer"]["max_steps"] + 1):
        time.sleep(STEP_SECONDS)
        value += step * config["optimizer"]["lr"] * (config["seed"] + 1) * len(prompt)
        temporary = run / "step.tmp"
        temporary.write_text(repr(value))
        temporary.replace(run / "checkpoints" / f"step-{step:06d}.ckpt")
        with (run / "steps.log").open("a") as log:
            log.write(f"{step} {os.environ.get('OMP_NUM_THREADS')} {os.environ.get('CUDA_VISIBLE_DEVICES')}\n")
        if stop:
            return 130
        if "that breaks" in prompt and not (Path(os.environ["FAKE_MENDED"])).exists():
            print("Traceback (most recent call last):\n  somewhere\nRuntimeError: the network is made of cheese", file=sys.stderr)
            return 1
        if "that is killed" in prompt:
            os.kill(os.getpid(), signal.SIGKILL)
        if "that kills its worker" in prompt:
            os.kill(os.getppid(), signal.SIGKILL)
    signal.signal(signal.SIGTERM, before)
    empty = "that is empty" in prompt
    (run / "report.json").write_text(
        json.dumps({"artifacts": {"mesh": None if empty else "mesh/model.glb"}, "value": value, "process": os.getpid()})
    )
    if empty:
        print("error: the scene is empty", file=sys.stderr)
        return 2
    return 0


def evaluate(words: list[str]) -> int:
    """Two sections and what is not measured."""
    run = Path(words[0])
    report = json.loads((run / "report.json").read_text())
    iou = None if report["artifacts"]["mesh"] is None else report["value"] % 1
    prompt = yaml.safe_load((run / "config.yaml").read_text())["prompt"]["text"]
    if "nobody can judge" in prompt and not Path(os.environ["FAKE_MENDED"]).exists():
        print("error: no judge", file=sys.stderr)
        return 1
    views = int(words[words.index("--views") + 1]) if "--views" in words else 24
    result = {
        "run": {"seed": 5, "folder": str(run)},
        "truth": {"silhouette_iou": iou, "geometric_retrieval": iou is not None, "best_class": "ball"},
        "pathology": {"janus": float("nan"), "components": views},
        "cost": {"seconds": time.time() % 1000},
        "notes": {},
    }
    temporary = run / "evaluation.tmp"
    temporary.write_text(json.dumps(result))
    temporary.replace(run / "evaluation.json")
    return 0


if __name__ == "__main__":
    serve(lambda words: {"train": train, "eval": evaluate}[words[0]](words[1:]), bool)
