"""What becomes of damaged run folders and of killed runs.

    python -m benchmarks.faults                      # both parts
    python -m benchmarks.faults damage --cases 20
    python -m benchmarks.faults kill --cases 10

`damage` copies a small finished run with a user's own files in it, damages one file of the run, gives it to `train --resume`,
`eval`, `render` or `export`, and prints the answer: the same result as without the damage, a result with a remark that names the
file, or a refusal in one line. `kill` kills runs of 200 steps, two at a time, at steps and at operations on files spread over
the whole run, resumes each, and compares every file with those of a run that was not killed. Exits with 1 if an answer is wrong:
another result without a remark, a traceback, a hang, or a file of the user's that is lost.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from multiprocessing import get_context
from pathlib import Path

import torch

from benchmarks.forked import HANGS, Ended, call, die_at_operation, die_at_step, fill_disk, obey_permissions, train, watch
from threefusion.machine.process import prepare_process

OURS = {"mesh/mine.blend": b"scene", "notes.txt": b"notes", "checkpoints/mine.ckpt": b"weights", "images/mine.png": b"picture"}
"""Files of the user's that lie in every run."""
FOREIGN = b"name,age\nann,7\nbob,9\n" * 40


def flip(path: Path, position: float) -> None:
    """Flip the lowest bit of a byte at this fraction of a file."""
    data = bytearray(path.read_bytes())
    data[int(position * len(data))] ^= 1
    path.write_bytes(data)


def replace_by_folder(path: Path) -> None:
    """A folder with a file of the user's under the name of a file."""
    path.unlink()
    path.mkdir()
    (path / "mine").write_bytes(FOREIGN)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "cut in half": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "a flipped bit": partial(flip, position=0.37),
    "a bit flipped near the end": partial(flip, position=0.93),
    "another's file": lambda path: path.write_bytes(FOREIGN),
    "JSON of another kind": lambda path: path.write_bytes(b'{"artifacts": [1], "mesh/model.glb": 3, "seed": {}}'),
    "a folder": replace_by_folder,
    "a link to nowhere": lambda path: (path.unlink(), path.symlink_to("nowhere")),
    "read-only": lambda path: path.chmod(0o444),
    "in a read-only folder": lambda path: path.parent.chmod(0o555),
}
FILES = {
    "config.yaml": "resume eval render export",
    "checkpoints/step-000012.ckpt": "resume eval render export",
    "metrics.csv": "resume",
    "report.json": "resume eval export",
    "mesh/model.glb": "resume eval export",
    "exported.json": "resume export",
    "evaluation.json": "resume eval",
    "turntable.mp4": "resume",
    "environment.json": "resume",
    "images/000012.png": "resume",
    "checkpoints/step-000010.ckpt": "resume",
}
"""The files of a run, and the commands that read or replace them."""
COMMANDS = {
    "resume": ("train", "--resume", "RUN", "trainer.max_steps=16"),
    "eval": ("eval", "RUN", "--views", "4"),
    "render": ("render", "RUN", "--views", "2", "--size", "16"),
    "export": ("export", "RUN", "--format", "glb", "obj"),
}
FULL_DISK = (1000, 3000, 30_000)
"""Bytes that fit into each file, what a command prints among them."""


def results(run: Path) -> dict[str, bytes]:
    """What the commands make of a run, but for times."""
    files = sorted({*run.glob("mesh/*.*"), run / "metrics.csv", *run.glob("turntable*.mp4")})
    made = {str(path.relative_to(run)): path.read_bytes() for path in files if path.is_file() and "kept" not in path.name}
    for path in run.glob("checkpoints/step-*.ckpt"):
        state = torch.load(path, weights_only=True)["state_dict"] if path.is_file() and path.name > "step-000012.ckpt" else {}
        made |= {f"{path.name}:{name}": value.numpy().tobytes() for name, value in state.items()}
    return {name: data for name, data in made.items() if name not in OURS}


def lost(run: Path, foreign: bool) -> list[str]:
    """Files of the user's that are not there any more, under any name."""
    there = [path.read_bytes() for path in run.rglob("*") if path.is_file()]
    wanted = OURS | ({"another's file": FOREIGN} if foreign else {})
    return [name for name, data in wanted.items() if data not in there]


def verdict(ended: Ended, remarks: list[str], same: bool, missing: list[str]) -> str:
    """One or two words for an answer; those in capitals must not occur."""
    if ended.code == HANGS:
        return "HANGS"
    if "Traceback" in ended.errors or ended.code not in (0, 2):
        return "TRACEBACK"
    if missing:
        return f"LOST {missing[0].upper()}"
    if ended.code == 2:
        return "refused" if remarks else "REFUSED WITHOUT A NAME"
    return "remarked" if remarks else "the same" if same else "SILENTLY WRONG"


def damage(case: tuple[str, str, str], base: Path, expected: dict[str, Undamaged]) -> tuple[str, str, str]:
    """What was done, the verdict, and the line that says so."""
    file, kind, command = case
    with tempfile.TemporaryDirectory(dir=base.parent) as folder:
        run = Path(folder) / "run"
        shutil.copytree(base, run)
        if kind.startswith("full disk"):
            before, names = partial(fill_disk, int(kind.split()[-1])), ["cannot be written"]
        else:
            DAMAGES[kind](run / file)
            before, names = obey_permissions, [Path(file).name, *(["cannot be written"] if "read-only" in kind else [])]
        ended = call([str(run) if word == "RUN" else word for word in COMMANDS[command]], before)
        for path in [run, *run.rglob("*")]:
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o755)
        undamaged, written = expected[command], lines(ended, run)
        remarks = [line for line in written if line not in undamaged.lines and any(name in line for name in names)]
        answer = verdict(ended, remarks, results(run) == undamaged.results, lost(run, kind in ("another's file", "a folder")))
        return f"{command}: {file} {kind}", answer, "" if answer == "the same" else (remarks or written or [""])[0]


@dataclass(frozen=True)
class Undamaged:
    """What a command makes of a run without damage."""

    results: dict[str, bytes]
    lines: list[str]


def lines(ended: Ended, run: Path) -> list[str]:
    """What a command wrote, wherever the run lies."""
    return [line.replace(str(run), "RUN").strip() for line in (ended.errors + ended.output).splitlines()]


def damage_cases() -> list[tuple[str, str, str]]:
    """File, kind of damage, command."""
    cases = [(file, kind, command) for file, commands in FILES.items() for kind in DAMAGES for command in commands.split()]
    return cases + [("RUN", f"full disk after {limit}", command) for limit in FULL_DISK for command in COMMANDS]


def finished_run(folder: Path) -> tuple[Path, dict[str, Undamaged]]:
    """A run of 12 steps, evaluated, with files of the user's; and what each command makes of it."""
    base = folder / "base"
    first = train(base, 12, "output.checkpoint_interval=5", "output.image_interval=6")
    if first.code or call(["eval", base, "--views", "4"]).code:
        raise SystemExit(f"the run to be damaged cannot be made:\n{first.errors}")
    for name, data in OURS.items():
        (base / name).write_bytes(data)
    expected = {}
    for command, words in COMMANDS.items():
        run = shutil.copytree(base, folder / command)
        ended = call([str(run) if word == "RUN" else word for word in words])
        if ended.code:
            raise SystemExit(f"{command} fails without damage:\n{ended.errors}")
        expected[command] = Undamaged(results(run), lines(ended, run))
    return base, expected


def kill(point: tuple[str, int], whole: Path) -> tuple[str, str, str]:
    """What was done, the verdict, and what differs."""
    kind, number = point
    with tempfile.TemporaryDirectory(dir=whole.parent) as folder:
        run = Path(folder) / "run"
        die = partial(die_at_step, number) if kind == "step" else partial(die_at_operation, run, number)
        killed = train(run, 200, before=die)
        # before there is a config there is nothing to resume
        resumed = call(["train", "--resume", run]) if (run / "config.yaml").exists() else train(run, 200)
        same = sorted(str(path.relative_to(whole)) for path in whole.rglob("*"))
        there = sorted(str(path.relative_to(run)) for path in run.rglob("*"))
        differing = sorted(set(same) ^ set(there))
        fixed = [
            name for name in same if name.startswith(("images/", "mesh/", "metrics", "turntable")) and (whole / name).is_file()
        ]
        differing += filecmp.cmpfiles(whole, run, fixed, shallow=False)[1]
        last = "checkpoints/step-000200.ckpt"
        if last in there:
            left, right = (torch.load(path / last, weights_only=True)["state_dict"] for path in (whole, run))
            differing += [name for name in left if not torch.equal(left[name], right[name])]
        right_way = killed.code == -signal.SIGKILL and resumed.code == 0 and not differing
        why = "" if right_way else f"{killed.code} {resumed.code} {differing} {resumed.errors.splitlines()[-1:]}"
        return f"killed at {kind} {number}", "the same" if right_way else "DIFFERENT", why


def kill_points(folder: Path, count: int) -> tuple[Path, list[tuple[str, int]]]:
    """A run that is not killed, and where to kill others: at steps, and at operations on files."""
    whole, operations = folder / "whole", folder / "operations"
    ended = train(whole, 200, before=partial(watch, whole, lambda number: operations.write_text(str(number))))
    if ended.code:
        raise SystemExit(f"the run that is not to be killed fails:\n{ended.errors}")
    total, half = int(operations.read_text()), count // 2
    steps = [("step", round((index + 0.5) * 200 / (count - half))) for index in range(count - half)]
    return whole, steps + [("operation", 1 + round(index * (total - 1) / max(half - 1, 1))) for index in range(half)]


def evenly(cases: list, count: int | None) -> list:
    """`count` of the cases, spread over all of them."""
    return cases if count is None or count >= len(cases) else [cases[index * len(cases) // count] for index in range(count)]


def main() -> int:
    """Run the parts, print a line per case and the number of each verdict."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", nargs="?", choices=("damage", "kill"), help="both by default")
    parser.add_argument("--cases", type=int, metavar="N", help="so many, spread over all (100 kills)")
    arguments = parser.parse_args()
    os.environ |= {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
    prepare_process()
    torch.set_num_threads(1)
    for module in (
        "imageio.v2",
        "trimesh",
        *(f"threefusion.{name}" for name in ("run.trainer", "run.results", "evaluate.evaluate")),
    ):
        import_module(module)  # once, not in every process
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        for part in [arguments.part] if arguments.part else ["damage", "kill"]:
            if part == "damage":
                base, expected = finished_run(folder)
                work, cases = partial(damage, base=base, expected=expected), evenly(damage_cases(), arguments.cases)
            else:
                whole, cases = kill_points(folder, arguments.cases or 100)
                work = partial(kill, whole=whole)
            counts: dict[str, int] = {}
            with get_context("fork").Pool(2) as pool:
                for what, answer, line in pool.imap(work, cases):
                    counts[answer] = counts.get(answer, 0) + 1
                    wrong += answer.isupper()
                    print(f"{what:55} {answer:10} {line}", flush=True)
            print(
                f"{part}: {len(cases)} cases, " + ", ".join(f"{count} {answer}" for answer, count in counts.items()), flush=True
            )
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
