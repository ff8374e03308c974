"""What `train` and `plan` answer to model folders that are odd in one respect.

    python benchmarks/odd_models.py
    python benchmarks/odd_models.py scheduler U-Net

Makes tiny random pipelines with diffusers and transformers, changes a copy of one in each way of `benchmarks/odd/cases.py`,
trains two steps with it and plans the same run, in this process. Prints whether the folder was trained, or the sentence that
refused it. What was trained is compared with diffusers' own reading of the folder: noise levels, timesteps, text embedding,
clean image and latents. Exits with 1 if an answer is not the expected one, differs from diffusers', or is not a single sentence.
Arguments select kinds.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
if __name__ == "__main__":  # a script finds only what lies beside it
    sys.path.insert(0, str(ROOT))

from benchmarks.odd.cases import CASES  # noqa: E402 (after the search path)
from benchmarks.odd.folders import Case  # noqa: E402
from threefusion.machine.process import environment_variable  # noqa: E402

CONFIG = """
prompt: {type: plain, text: a red ball}
geometry: {type: image}
renderer: {type: image}
exporter: null
camera: {batch_size: 1, height: 16, width: 16}
trainer: {max_steps: 2}
output: {image_size: 16}
"""


def make_bases(folder: Path) -> None:
    """The plain pipelines, those of the tests."""
    spec = importlib.util.spec_from_file_location("tiny_pipelines", ROOT / "tests" / "guidance" / "tiny.py")
    assert spec and spec.loader
    tiny = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tiny)
    tiny.save_tiny_sd(folder / "sd")
    tiny.save_tiny_sd(folder / "sd-v", "v_prediction")
    tiny.save_tiny_if(folder / "if", 6)
    tiny.save_tiny_if(folder / "if-3", 3)
    tiny.save_tiny_sdxl(folder / "xl")
    tiny.save_tiny_sd3(folder / "flow-sd3")
    tiny.save_tiny_flux(folder / "flow-flux")


def answer(case: Case, bases: Path, work: Path) -> tuple[str, str | None]:
    """What is said to a case (`trained`, or the sentence), and what is wrong with that."""
    folder = work / "model"
    shutil.copytree(bases / case.base, folder)
    for change in case.changes:
        change(folder)
    kind = {"if": "pixel", "flow": "flow"}.get(case.base.partition("-")[0], "latent")
    prior = {"type": kind, "dtype": "float32", "model": case.model.format(folder=folder)}
    overrides = [*(f"guidance.prior.{name}={value}" for name, value in prior.items()), *case.overrides]
    config, out = work / "run.yaml", work / "run"
    config.write_text(CONFIG)
    code, said = command("train", "--config", str(config), "--out", str(out), *overrides)
    planned, reason = command("plan", str(config), *overrides)
    said, reason = (text.replace(str(work), "…") for text in (said, reason))
    if case.refused is None:
        if (code, planned) != (0, 0):
            return said or reason, "expected to be trained"
        wrong = compare(config, overrides, folder)
        return "trained", f"differs from diffusers in: {', '.join(wrong)}" if wrong else None
    if code == 0:
        return "trained", f"expected to be refused with {case.refused!r}"
    if (code, planned) != (2, 2) or len(said.splitlines()) != 1 or said != reason:
        return said, f"expected one sentence, the same from plan: {reason}"
    if case.refused not in said or (out / "config.yaml").exists():
        return said, f"expected {case.refused!r}, and no run folder"
    return said.removeprefix("error: "), None


def command(*arguments: str) -> tuple[object, str]:
    """The exit code of a command and what it printed as errors."""
    from threefusion.cli.main import main

    errors = io.StringIO()
    with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
        try:
            main(list(arguments))
        except SystemExit as end:
            return end.code, errors.getvalue().strip()
        except Exception as error:
            return "traceback", f"traceback: {type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
    return None, errors.getvalue().strip()


def compare(config: Path, overrides: list[str], folder: Path) -> list[str]:
    """What a prior computes otherwise than diffusers."""
    from benchmarks.odd.reading import differences
    from threefusion.config import load_config
    from threefusion.registry import build

    return differences(build(load_config(config, overrides).guidance["guidance"].prior), folder)


def main(kinds: list[str]) -> int:
    """Print the answer to each folder of the kinds, all of them without any; returns the exit code."""
    wrong = trained = 0
    selected = [case for case in CASES if not kinds or case.kind in kinds]
    with (
        tempfile.TemporaryDirectory() as temporary,
        environment_variable("THREEFUSION_CACHE", str(Path(temporary) / "cache")),
        environment_variable("HF_HUB_OFFLINE", "1"),
    ):
        bases = Path(temporary) / "bases"
        make_bases(bases)
        for number, case in enumerate(selected):
            work = Path(temporary) / str(number)
            work.mkdir()
            said, problem = answer(case, bases, work)
            shutil.rmtree(work)
            trained += said == "trained"
            wrong += problem is not None
            print(f"{case.kind:<12} {case.name:<48} {said}" + (f"\n    WRONG: {problem}" if problem else ""), flush=True)
    print(f"{len(selected)} folders: {trained} trained, {len(selected) - trained} refused, {wrong} answered wrongly")
    return 1 if wrong or not selected else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
