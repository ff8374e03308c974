"""config.yaml of a run loads to the config that it was written from."""

from pathlib import Path

import pytest
from cases import HARMLESS

from threefusion.config import config_to_yaml, load_config


@pytest.mark.parametrize(("text", "overrides"), HARMLESS)
def test_round_trip(workplace, text, overrides):
    Path("child.yaml").write_text(text, encoding="utf-8")
    config = load_config(Path("child.yaml"), overrides)
    Path("run").mkdir()
    Path("run/config.yaml").write_text(config_to_yaml(config), encoding="utf-8")
    assert load_config(Path("run/config.yaml"), []) == config


@pytest.mark.parametrize(
    "text", ["a cat: the movie", "123", "${x}", "null", "true", "- x", "#1", "'q'", '"', "two\nlines", "é 猫", " "]
)
def test_any_prompt_survives(workplace, text):
    config = load_config(Path("base.yaml"), [f"loss.zoo.title={text}", f"prompt.text=a {text} cat"])
    Path("config.yaml").write_text(config_to_yaml(config), encoding="utf-8")
    assert load_config(Path("config.yaml"), ["name=base"]) == config


def test_every_default_is_written_out(workplace):
    text = config_to_yaml(load_config(Path("base.yaml"), []))
    for word in ("samples_per_ray", "guidance_scale", "betas", "turntable_frames", "animal"):
        assert word in text


def test_a_run_can_be_opened_from_anywhere(workplace, tmp_path_factory, monkeypatch):
    config = load_config(Path("base.yaml"), [])
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "config.yaml").write_text(config_to_yaml(config), encoding="utf-8")
    monkeypatch.chdir(elsewhere)
    assert load_config(Path("config.yaml"), []) == config
    assert config.plugins == (str(workplace / "plugins"),)
