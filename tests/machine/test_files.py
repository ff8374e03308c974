"""Files appear whole or not at all, and errors name them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from threefusion.errors import UserError
from threefusion.machine.files import numbered, read_json, remove_temporaries, set_aside, write_atomically, write_json, written


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError(), OSError(28, "No space left on device")])
def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "turntable.mp4"
    path.write_text("old")
    with pytest.raises((type(error), UserError)) as caught, written(path) as temporary:
        assert temporary.suffix == ".mp4"
        temporary.write_text("half")
        raise error
    if isinstance(error, OSError):
        assert str(caught.value) == f"{path}: cannot be written (No space left on device)"
    assert [path.name for path in tmp_path.iterdir()] == ["turntable.mp4"] and path.read_text() == "old"


def test_a_folder_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "report.json").mkdir()
    with pytest.raises(UserError, match=r"report\.json: cannot be written"):
        write_atomically(tmp_path / "report.json", "{}")
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    killed = "from pathlib import Path; from threefusion.machine.files import written; import os, sys\n"
    killed += "with written(Path(sys.argv[1])) as path: path.touch(); os.kill(os.getpid(), 9)"
    (tmp_path / "images").mkdir()
    for name in ("images/000200.png", "config"):
        subprocess.run([sys.executable, "-c", killed, str(tmp_path / name)], check=False)
    assert len(list(tmp_path.rglob(".*.tmp*"))) == 2
    # an export that was killed
    (tmp_path / ".mesh.99999999.tmp").mkdir()
    (tmp_path / ".mesh.99999999.tmp" / "model.glb").touch()
    kept = [".mine.tmp", ".mine.x.tmp", "a.7.tmp", f".a.{os.getppid()}.tmp.png"]
    for name in kept:
        (tmp_path / name).touch()
    remove_temporaries(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*")) == sorted([*kept, "images"])


def test_checkpoints_are_ordered_by_number(tmp_path: Path) -> None:
    for name in ("step-1000000.ckpt", "step-000200.ckpt", "step-999800.ckpt", "step-best.ckpt", "last.ckpt"):
        (tmp_path / name).touch()
    (tmp_path / "step-000300.ckpt").mkdir()
    steps = [path.name for path in numbered(tmp_path, "step-*.ckpt")]
    assert steps == ["step-000200.ckpt", "step-999800.ckpt", "step-1000000.ckpt"]


def test_what_is_set_aside_keeps_its_kind_and_overwrites_nothing(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / "model.glb").write_text(str(number))
        assert set_aside(tmp_path / "model.glb").name == f"model.kept-{number}.glb"
    assert [(tmp_path / f"model.kept-{number}.glb").read_text() for number in (1, 2)] == ["1", "2"]


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("content", ["name,age", "[1]", '{"name": 1}', "", None])
def test_json_of_others_is_kept(tmp_path: Path, content: str | None, capsys) -> None:
    path = tmp_path / "report.json"
    path.mkdir() if content is None else path.write_text(content)
    write_json(path, {"steps": 1})
    kept = tmp_path / "report.kept-1.json"
    assert kept.is_dir() if content is None else kept.read_text() == content
    assert "kept as report.kept-1.json" in capsys.readouterr().err
    write_json(path, {"steps": 2, "more": "ü"})
    assert path.read_text(encoding="utf-8") == '{\n  "steps": 2,\n  "more": "ü"\n}\n' and len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("text", ["", '{"a": 1', "[1]", '{"a": ' * 200_000, "\udcff"])
def test_what_is_no_json_object_reads_as_none(tmp_path: Path, text: str) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(text.encode(errors="surrogateescape"))
    assert read_json(path) is None
    write_json(path, {"a": 2})
    assert read_json(path) == {"a": 2} and (tmp_path / "report.kept-1.json").exists()
