"""Exports replace what the run has exported, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from threefusion.errors import UserError
from threefusion.run.exported import LIST, ExportedFiles


def export(run: Path, **contents: str) -> None:
    """Write files into `mesh/`, as an export of a resumed run does."""
    files = ExportedFiles(run)
    with files.renewing(), files.folder(run / "mesh") as waiting:
        for name, text in contents.items():
            (waiting / f"model.{name}").write_text(text)


def files(run: Path) -> dict[str, str]:
    return {path.relative_to(run).as_posix(): path.read_text() for path in run.rglob("*") if path.is_file() and path.name != LIST}


@pytest.mark.usefixtures("terminal")
def test_an_export_replaces_the_one_before(tmp_path: Path, capsys) -> None:
    export(tmp_path, glb="one", obj="one", mtl="one")
    export(tmp_path, glb="two", ply="two")
    assert files(tmp_path) == {"mesh/model.glb": "two", "mesh/model.ply": "two"}
    assert capsys.readouterr().err == ""


@pytest.mark.usefixtures("terminal")
def test_files_of_others_stay(tmp_path: Path, capsys) -> None:
    export(tmp_path, glb="one", obj="one")
    (tmp_path / "mesh" / "scene.blend").write_text("mine")
    (tmp_path / "mesh" / "textures").mkdir()
    (tmp_path / "mesh" / "textures" / "model.png").write_text("mine")
    (tmp_path / "mesh" / "copy.glb").write_text("one")
    (tmp_path / "mesh" / "model.glb").write_text("edited")
    (tmp_path / "mesh" / "model.obj").write_text("edited")
    export(tmp_path, glb="two")
    assert files(tmp_path) == {
        "mesh/scene.blend": "mine",
        "mesh/textures/model.png": "mine",
        "mesh/copy.glb": "one",
        "mesh/model.obj": "edited",
        "mesh/model.kept-1.glb": "edited",
        "mesh/model.glb": "two",
    }
    assert capsys.readouterr().err == f"{tmp_path}/mesh/model.glb: not as it was exported; kept as model.kept-1.glb\n"


def test_a_folder_and_a_link_in_the_way_are_kept(tmp_path: Path) -> None:
    (tmp_path / "mesh" / "model.glb").mkdir(parents=True)
    (tmp_path / "mesh" / "model.obj").symlink_to(tmp_path / "nowhere")
    export(tmp_path, glb="two", obj="two")
    assert (tmp_path / "mesh" / "model.kept-1.glb").is_dir() and (tmp_path / "mesh" / "model.kept-1.obj").is_symlink()
    assert files(tmp_path) == {"mesh/model.glb": "two", "mesh/model.obj": "two"}


@pytest.mark.parametrize("error", [UserError("the scene is empty"), KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_failed_export_keeps_the_one_before_under_another_name(tmp_path: Path, error: BaseException) -> None:
    export(tmp_path, glb="one")
    later = ExportedFiles(tmp_path)
    with pytest.raises((type(error), UserError)) as caught, later.renewing(), later.folder(tmp_path / "mesh") as waiting:
        (waiting / "model.glb").write_text("half")
        raise error
    if isinstance(error, OSError):
        assert str(caught.value) == f"{tmp_path}/mesh: cannot be written (No space left on device)"
    assert files(tmp_path) == {"mesh/model.kept-1.glb": "one"}


@pytest.mark.usefixtures("terminal")
def test_a_file_that_a_killed_process_moved_is_not_taken_for_that_of_others(tmp_path: Path, monkeypatch, capsys) -> None:
    export(tmp_path, glb="one")
    for kill in ("os.replace", "shutil.rmtree"):
        with monkeypatch.context() as patch, pytest.raises(SystemExit):
            patch.setattr(f"threefusion.run.exported.{kill}", lambda *_, **__: exit())
            export(tmp_path, glb="two")
    export(tmp_path, glb="three")
    assert "not as it was exported" not in capsys.readouterr().err
    assert files(tmp_path)["mesh/model.glb"] == "three" and not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("content", ["", "[]", "{", '{"mesh/model.glb": 5}', '{"../precious": ["SUM"], "/precious": ["SUM"]}'])
def test_a_damaged_list_loses_nothing(tmp_path: Path, content: str) -> None:
    run, precious = tmp_path / "run", tmp_path / "precious"
    run.mkdir()
    export(run, glb="one")
    (recorded,) = json.loads((run / LIST).read_text())["mesh/model.glb"]
    precious.write_text("one")
    (run / LIST).write_text(content.replace("SUM", recorded))
    export(run, obj="two")
    export(run, glb="two")
    meshes = {name: text for name, text in files(run).items() if name.startswith("mesh/")}
    assert meshes == {"mesh/model.kept-1.glb": "one", "mesh/model.glb": "two"}
    assert precious.read_text() == "one"


@pytest.mark.usefixtures("terminal")
def test_another_file_under_the_name_of_the_list_is_kept(tmp_path: Path, capsys) -> None:
    (tmp_path / LIST).write_text("name,age\nann,7\n")
    export(tmp_path, glb="one")
    assert files(tmp_path) == {"mesh/model.glb": "one", "exported.kept-1.json": "name,age\nann,7\n"}
    assert capsys.readouterr().err == f"{tmp_path / LIST}: no list of exports; kept as exported.kept-1.json\n"
