"""Which settings can be changed, and what a change makes of a config."""

from __future__ import annotations

from pathlib import Path

import pytest

from threefusion.config import Schedule, config_to_yaml, load_config
from threefusion.viewer.dials import dials_of, from_step, settings_of


def test_a_schedule_keeps_its_past():
    line = Schedule(((0, 0.0), (100, 100.0), (200, 0.0)))
    changed = from_step(line, 50, 7.0)
    assert [changed(step) for step in (0, 25, 49, 50, 51, 150)] == [0, 25, 49, 7, 7, 7]
    again = from_step(changed, 50, 8.0)
    assert again.knots == ((0, 0.0), (49, 49.0), (50, 8.0)) and from_step(again, 51, 9.0)(50) == 8
    assert from_step(line, 0, 3.0) == Schedule.constant(3.0)
    assert from_step(line, 1, 3.0).knots == ((0, 0.0), (1, 3.0))


def test_dials_are_called_as_in_yaml(tiny: Path):
    config = load_config(tiny, ["guidance.t_max={knots: {0: 0.98, 100: 0.5}}", "loss.sparsity.weight=0"])
    dials = {dial.setting: (dial.value, dial.low, dial.high) for dial in dials_of(config, 50)}
    assert dials == {
        "guidance.guidance_scale": (1, 0, 2),
        "guidance.t_min": (0.02, 0, 1),
        "guidance.t_max": (0.74, 0, 1),
        "guidance.weight": (1, 0, 2),
        "loss.orientation.weight": (0.1, 0, 0.2),
        "loss.sparsity.weight": (0, 0, 1),
        "optimizer.schedule": (1, 0, 2),
    }
    for setting in settings_of(config):
        changed = setting.changed(config, 60, 0.5)
        assert setting.of(changed)(60) == 0.5 and setting.of(changed)(10) == setting.of(config)(10)


def test_several_objectives_have_their_names(tiny: Path):
    config = load_config(tiny, ["guidance={a: {type: sds, prior: gaussian}, b: {type: sds, prior: gaussian}}"])
    assert {"guidance.a.t_min", "guidance.b.weight"} <= {setting.path for setting in settings_of(config)}


def test_a_changed_config_is_read_again(tiny: Path, tmp_path: Path):
    config = load_config(tiny, [])
    for setting in settings_of(config):
        config = setting.changed(config, 40, 0.5)
    (tmp_path / "tiny.yaml").write_text(config_to_yaml(config))
    assert load_config(tmp_path / "tiny.yaml", []) == config


def test_values_out_of_range_are_refused(tiny: Path):
    config = load_config(tiny, [])
    known = {setting.path: setting for setting in settings_of(config)}
    for path, value, words in (
        ("guidance.t_max", 0.01, "t_min"),
        ("guidance.t_min", 2.0, "t_min"),
    ):
        with pytest.raises(ValueError, match=words):
            known[path].changed(config, 10, value)
    with pytest.raises(ValueError):
        known["guidance.guidance_scale"].changed(config, 10, float("nan"))
