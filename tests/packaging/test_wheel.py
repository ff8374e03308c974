"""The wheel holds all that the checkout does: unpacked alone, the commands work from another folder and the models are found."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("setuptools")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with nothing but what the wheel unpacks to."""
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE", "threefusion", "configs"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).symlink_to(ROOT / name)
    command = [sys.executable, "setup.py", "-q", "bdist_wheel", "--dist-dir", str(folder)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (wheel,) = folder.glob("threefusion-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder / "site")
    return folder / "site"


def outside(installed, folder, *arguments):
    """The command line of the unpacked wheel, called from another folder."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"PYTHONPATH": str(installed)}
    command = [sys.executable, "-c", "import threefusion.cli.main; threefusion.cli.main.main()", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_it_is_the_wheel_that_runs(installed, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(installed)}
    command = [sys.executable, "-c", "import threefusion; print(threefusion.__file__)"]
    said = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True).stdout
    assert Path(said.strip()).is_relative_to(installed)


def test_every_bundled_file_is_in_the_wheel(installed):
    folders = (ROOT / "threefusion" / "bundled", ROOT / "threefusion" / "page")
    there = {path.relative_to(ROOT) for folder in folders for path in folder.rglob("*") if "__pycache__" not in path.parts}
    there = {path for path in there if (ROOT / path).is_file()}
    assert {path.suffix for path in there} >= {".safetensors", ".json", ".npz", ".md", ".js", ".css", ".LICENSE"}
    for path in there:
        assert (installed / path).stat().st_size == (ROOT / path).stat().st_size


def test_every_shipped_config_is_in_the_wheel_and_named_from_anywhere(installed, tmp_path):
    there = sorted(path.relative_to(ROOT / "configs") for path in (ROOT / "configs").rglob("*.yaml"))
    for path in there:
        assert (installed / "threefusion/configs" / path).read_bytes() == (ROOT / "configs" / path).read_bytes()
    # some are complete only with a scene, a mesh or a picture of the user's
    given = {"edit", "zero123", "zero123-tiny", "retexture", "retexture-quickstart"}
    given |= {"refine", "refine-tiny", "castex", "castex-tiny"}
    whole = [path for path in there if path.parent.name != "base" and path.stem not in given]
    names = [str(path.with_suffix("")) for path in whole]
    assert {"quickstart", "dreamfusion-sd", "bench/quick"} <= set(names)
    checked = outside(installed, tmp_path, "check", *names)
    assert checked.stdout.splitlines() == [f"{name}: ok" for name in names], checked.stderr
    (tmp_path / "mine.yaml").write_text("extends: quickstart.yaml\nprompt: {text: a blue car}\n")
    assert outside(installed, tmp_path, "check", "mine.yaml").stdout == "mine.yaml: ok\n"
    made = outside(installed, tmp_path, "init", "new/folder", "--config", "quickstart-two-stage")
    assert made.returncode == 0 and "train --config new/folder/quickstart-two-stage.yaml" in made.stdout, made.stderr
    checked = outside(installed, tmp_path, "check", "new/folder/quickstart-two-stage.yaml", "prompt.text=a blue car")
    assert checked.stdout == "new/folder/quickstart-two-stage.yaml: ok\n", checked.stderr


def test_the_wheel_lists_describes_and_checks_from_another_folder(installed, tmp_path):
    listed = outside(installed, tmp_path, "list", "guidance", "--json")
    assert listed.returncode == 0, listed.stderr
    assert "sds" in {row["name"] for row in json.loads(listed.stdout)["components"]}
    config = tmp_path / "mine.yaml"
    config.write_text("prompt: {text: a red car}\nguidance: {prior: {type: pixel, model: toyworld-pixel}}\n")
    checked = outside(installed, tmp_path, "check", str(config))
    assert (checked.returncode, checked.stdout) == (0, f"{config}: ok\n"), checked.stderr
    refused = outside(installed, tmp_path, "train", "--config", str(config), "--prompt", "a dragon")
    assert refused.returncode == 2 and "toyworld-pixel knows no object in 'a dragon'" in refused.stderr
