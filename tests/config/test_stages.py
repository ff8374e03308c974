"""Stages: each is laid over the run's own parts, as a file over the one that it extends."""

from pathlib import Path

import pytest

from threefusion.config import RunConfig, Schedule, load_config
from threefusion.config.stages import stage_seed
from threefusion.geometry.encoding.settings import FrequencyConfig

TEXT = """extends: base.yaml
seed: 4
camera: {width: 16}
stages:
  - {steps: 3}
  - name: fine
    steps: 2
    camera: {width: 32, height: "${camera.width}"}
    geometry: {encoding: {type: frequency}}
    loss:
      zoo: {rates: {north: null, east: 3}}
      orientation: {weight: 2}
"""


def load(text: str, *overrides: str) -> RunConfig:
    """A config that is written down first."""
    Path("child.yaml").write_text(text, encoding="utf-8")
    return load_config(Path("child.yaml"), list(overrides))


def test_a_stage_is_the_run_with_its_changes(workplace):
    config = load(TEXT)
    coarse, fine = config.stages
    assert (coarse.name, coarse.trainer.max_steps, coarse.stages) == ("stage-1", 3, ())
    assert (fine.name, fine.trainer.max_steps, config.trainer.max_steps) == ("fine", 2, 5)
    assert coarse.camera == config.camera and (fine.camera.width, fine.camera.height) == (32, 32)
    assert coarse.geometry == config.geometry and coarse.geometry.encoding.levels == 4
    assert fine.geometry.encoding == FrequencyConfig() and fine.geometry.radius == 2.0
    assert fine.losses["zoo"].rates == {"south": 2, "east": 3} and fine.losses["zoo"].count == 4
    assert list(fine.losses) == ["zoo", "orientation"] and list(config.losses) == ["zoo"]
    assert config.parts == config.stages and fine.parts == (fine,)


def test_the_first_stage_has_the_seed_of_the_run_and_no_two_share_one(workplace):
    config = load(TEXT)
    assert [stage.seed for stage in config.stages] == [4, 1004]
    assert config.with_seed(7) == load(TEXT, "seed=7")
    assert stage_seed(2**63 - 1, 1) == 999


def test_overrides_reach_a_stage_by_name_and_by_number(workplace):
    config = load(TEXT, "stages.fine.camera.width=64", "stages.0.steps=9", "camera.batch_size=2", "stages.stage-1.name=first")
    assert [stage.trainer.max_steps for stage in config.stages] == [9, 2]
    assert (config.stages[0].name, config.stages[1].camera.width, config.stages[1].camera.height) == ("first", 64, 64)
    assert [stage.camera.batch_size for stage in config.stages] == [2, 2]


def test_a_type_given_for_the_run_and_one_given_for_a_stage_are_told_apart(workplace):
    words = ("geometry.encoding.type=dense-grid", "geometry.encoding.base_resolution=8")
    config = load("extends: base.yaml\nstages: [{steps: 1}, {steps: 1}]\n", *words, "stages.1.geometry.encoding.type=frequency")
    assert config.stages[0].geometry.encoding.base_resolution == 8
    assert config.stages[1].geometry.encoding == FrequencyConfig()


def test_a_file_replaces_the_stages_of_the_one_it_extends_or_changes_some(workplace):
    Path("stages.yaml").write_text(TEXT, encoding="utf-8")
    changed = load("extends: stages.yaml\nstages: {fine: {loss: {zoo: {weight: {knots: {0: 5}}}}}}\n")
    assert changed.stages[1].losses["zoo"].weight == Schedule.constant(5)
    assert changed.stages[1].camera.width == 32
    replaced = load("extends: stages.yaml\nstages: [{steps: 7}]\n")
    assert [(stage.name, stage.camera.width) for stage in replaced.stages] == [("stage-1", 16)]
    assert load("extends: stages.yaml\nstages: null\n").stages == ()


@pytest.mark.parametrize("stages", ["", "stages: []\n", "stages: null\n"])
def test_without_stages_the_run_is_its_only_part(workplace, stages):
    config = load(f"extends: base.yaml\n{stages}")
    assert config.stages == () and config.parts == (config,) and config.trainer.max_steps == 10


def test_the_steps_of_a_file_that_is_extended_do_not_count(workplace):
    assert load("extends: base.yaml\nstages: [{steps: 2}, {steps: 4}]\n").trainer.max_steps == 6
