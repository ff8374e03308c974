"""Settings as text by path, from a config and from its file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from threefusion.config import config_to_yaml, load_config
from threefusion.config.differences import changed_settings, saved_settings, settings_of, with_defaults

TEXTS = ["a red ball: 1e-3", "${red}", "\\${red}", "a \\\\${red} and ${blue}", "???", "\\???", "\\\\", "null", "true", "a\u2028b"]


@pytest.mark.parametrize(
    "name", ["quickstart", "quickstart-two-stage", "dreamfusion-if", "prolificdreamer-tiny", "playground/sds"]
)
def test_the_settings_of_a_config_are_those_of_its_file(name: str, tmp_path: Path) -> None:
    config = load_config(Path(name), ["seed=7"])
    for text in TEXTS:
        config = replace(config, prompt=replace(config.prompt, text=text))
        (tmp_path / "config.yaml").write_text(config_to_yaml(config))
        settings = settings_of(config)
        assert saved_settings(tmp_path / "config.yaml") == settings
        assert settings["seed"] == "7" and settings["prompt.text"] == text


def test_schedules_and_stages_have_paths_of_their_own() -> None:
    settings = settings_of(load_config(Path("quickstart"), []))
    assert settings["guidance.t_max"].startswith("250: 0.98, ")
    assert settings["facing.steps"] == "[200, 400]" and settings["trainer.max_time"] == "null"
    staged = settings_of(load_config(Path("quickstart-two-stage"), []))
    assert {"stages.coarse.steps", "stages.fine.steps"} <= staged.keys()


def test_only_what_differs_from_the_defaults_has_changed(tiny: Path) -> None:
    config = load_config(tiny, ["optimizer.lr=0.01", "camera.batch_size=4"])
    default = with_defaults(config)
    assert type(default.camera) is type(config.camera) and default.guidance.keys() == config.guidance.keys()
    changed = changed_settings(config)
    assert {"camera.height", "trainer.max_steps", "loss.orientation.weight", "guidance.prior.type", "seed"} <= changed
    assert not {"optimizer.betas", "trainer.num_nodes", "camera.azimuth_range_deg"} & changed
    before = changed_settings(replace(config, seed=default.seed))
    assert changed - before == {"seed"}
