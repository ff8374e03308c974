"""No name that a config gives leads out of the folder where runs are filed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from threefusion.bench.plan import load_plan
from threefusion.config import ConfigError, load_config
from threefusion.run.folder import free_folder

ROOT = Path(__file__).parents[2]
ELSEWHERE = ["../../evil", "/abs", "a/b", "..", ".hidden", "a\\b", "a\tb", "x" * 201, "ü" * 101]


@pytest.mark.parametrize("name", ELSEWHERE)
@pytest.mark.parametrize("key", ["name", "logger"])
def test_names_that_lead_elsewhere_are_refused_with_their_line(tmp_path: Path, name: str, key: str) -> None:
    quoted = '"' + name.replace("\\", "\\\\").replace("\t", "\\t") + '"'
    file = tmp_path / "mine.yaml"
    setting = f"name: {quoted}" if key == "name" else f"logger: {{type: tensorboard, name: {quoted}}}"
    file.write_text(f"extends: {ROOT}/tests/tiny.yaml\n{setting}\n")
    with pytest.raises(ConfigError, match=rf"^{re.escape(str(file))}:2: (logger\.)?name: expected the name of a folder"):
        load_config(file, [])


@pytest.mark.parametrize("name", ["mine", "köln", "a b", "v1.2", "x" * 200])
def test_other_names_are_taken(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config(tiny, [f"name={name}"])
    assert free_folder(config) == Path("runs", name, "a-red-ball-1")


@pytest.mark.parametrize("file", ["...yaml", ".hidden.yaml"])
def test_the_names_of_files_are_no_exception(tmp_path: Path, file: str) -> None:
    path = tmp_path / file
    path.write_text(f"extends: {ROOT}/tests/tiny.yaml\n")
    with pytest.raises(ConfigError, match="name: expected the name of a folder"):
        load_config(path, [])
    path.write_text(f"config: {ROOT}/tests/tiny.yaml\nprompts: [a red ball]\nvariants: {{a: {{}}}}\n")
    with pytest.raises(ConfigError, match="name: needed"):
        load_plan(path, [])


@pytest.mark.parametrize("key", ["exporter={%s: {type: mesh}}", "stages=[{name: %s, steps: 1}]"])
@pytest.mark.parametrize("name", ["x" * 101, "../x", "a/b"])
def test_names_of_parts_are_names_of_folders_too(tiny: Path, key: str, name: str) -> None:
    with pytest.raises(ConfigError, match="expected letters, digits, - and _"):
        load_config(tiny, [key % name])


@pytest.mark.parametrize("prompt", ["../../evil", "/abs", "..", "~/x", "a" * 300, "ü", "a\0b"])
def test_no_prompt_leads_elsewhere(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prompt: str) -> None:
    from dataclasses import replace

    monkeypatch.chdir(tmp_path)
    config = load_config(tiny, [])
    run = free_folder(replace(config, prompt=replace(config.prompt, text=prompt)))
    assert run.parent == Path("runs/tiny") and len(run.name) < 70


@pytest.mark.slow
def test_a_training_writes_nothing_outside_its_run(tiny: Path, tmp_path: Path) -> None:
    home, temporary = tmp_path / "home", tmp_path / "home" / "tmp"
    temporary.mkdir(parents=True)
    environment = os.environ | {"HOME": str(home), "TMPDIR": str(temporary), "PYTHONPATH": str(ROOT)}
    words = ["trainer.max_steps=2", "trainer.profiler=pytorch", "logger=tensorboard", "exporter={type: mesh, resolution: 32}"]
    line = [sys.executable, "-m", "threefusion", "train", "--config", str(tiny), "--out", "run", *words]
    done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "run"]
    assert not [path for path in home.rglob("*") if path.is_file() and not re.search("numba|torchinductor", str(path))]
