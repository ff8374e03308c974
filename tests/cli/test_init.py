"""Shipped configs are named from anywhere, extended from anywhere, and copied to start from."""

from pathlib import Path

import pytest
from PIL import Image

from threefusion.cli.main import run
from threefusion.config import load_config
from threefusion.config.document import SHIPPED
from threefusion.errors import ConfigError, UserError


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """An empty current directory."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", ["quickstart", "quickstart.yaml", "bench/quick"])
def test_a_shipped_config_is_named_without_its_folder(name, capsys):
    assert run(["check", name]) == 0
    assert capsys.readouterr().out == f"{name}: ok\n"


def test_a_file_of_the_same_name_comes_first():
    Path("quickstart.yaml").write_text("prompt: {text: a blue boat}\n")
    assert load_config(Path("quickstart.yaml"), []).text == "a blue boat"
    assert load_config(Path("quickstart"), []).text == "a red mushroom"


def test_an_unknown_name_has_its_nearest():
    with pytest.raises(ConfigError, match=r"^quickstrat: no such file. Did you mean 'quickstart.yaml'\?$"):
        load_config(Path("quickstrat"), [])


def test_a_config_extends_a_shipped_one_from_any_folder():
    Path("deep/er").mkdir(parents=True)
    Path("deep/er/mine.yaml").write_text("extends: [quickstart.yaml, base/toyworld.yaml]\nseed: 7\n")
    assert load_config(Path("deep/er/mine.yaml"), []).seed == 7
    Path("deep/er/wrong.yaml").write_text("extends: quickstrat.yaml\n")
    with pytest.raises(ConfigError, match=r"wrong.yaml:1: extends: no file .* Did you mean 'quickstart.yaml'"):
        load_config(Path("deep/er/wrong.yaml"), [])


@pytest.mark.parametrize("name", sorted(path.stem for path in SHIPPED.glob("*.yaml")))
def test_init_copies_a_config_that_loads_as_the_shipped_one(name, capsys):
    assert run(["init", "my experiments", "--config", name]) == 0
    file = Path("my experiments") / f"{name}.yaml"
    text = file.read_text()
    assert text.startswith("#") and str(file) in text and f"configs/{name}" not in text
    assert f"--config '{file}'" in capsys.readouterr().out
    Path("scene.ply").touch()
    Image.new("RGB", (8, 8)).save("picture.png")
    Path("box.glb").touch()
    given = {"edit": ["geometry.init_from=scene.ply"], "zero123": ["guidance.prior.image=picture.png"]}
    given["zero123-tiny"] = ["loss.reference.image=picture.png"]
    textured = ("retexture", "retexture-quickstart", "refine", "refine-tiny", "castex", "castex-tiny")
    given |= {one: ["geometry.mesh=box.glb"] for one in textured}
    words = ["prompt.text=a red car", *given.get(name, [])]
    assert load_config(file, words) == load_config(Path(name), words)


def test_init_overwrites_nothing():
    run(["init", "."])
    before = Path("quickstart.yaml").read_bytes()
    Path("quickstart.yaml").write_bytes(before + b"seed: 3\n")
    with pytest.raises(UserError, match=r"quickstart\.yaml exists already"):
        run(["init", "."])
    assert Path("quickstart.yaml").read_bytes() == before + b"seed: 3\n"


def test_init_of_no_shipped_config():
    with pytest.raises(UserError, match=r"no shipped config 'dreamfusion'. Did you mean 'dreamfusion-"):
        run(["init", "new", "--config", "dreamfusion"])
    assert not Path("new").exists()


def test_init_into_a_file():
    Path("taken").write_text("x")
    with pytest.raises(OSError, match="exists"):
        run(["init", "taken"])
    assert Path("taken").read_text() == "x"
