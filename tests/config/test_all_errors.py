"""`check` shows every mistake of a config, one line each, and no mistake that follows from another."""

from pathlib import Path

import pytest

from threefusion.cli.main import main
from threefusion.config import ConfigError, load_config

WRONG = """extends: base.yaml
guidanse: sds
seed: three
name: "${camera.widht}"
geometry: {radius: -1, radus: 2, encoding: {levels: many}}
guidance: {type: sdss}
optimizer: {lr: 0}
loss:
  zoo: {count: 11, animal: zebbra, encoding: null}
  strict-zoo: {}
exporter: {resolution: x}
output: {turntable_size: 33}
trainer: [1]
"""
LINES = """child.yaml:2: guidanse: unknown key of a run. Did you mean 'guidance'?
child.yaml:3: seed: expected a whole number, got 'three'
child.yaml:4: name: Interpolation key 'camera.widht' not found. Did you mean 'camera.width'?
child.yaml:5: geometry.radus: unknown field of geometry 'density-field'. Did you mean 'radius'?
child.yaml:5: geometry.radius: expected a value in (0, 1000], got -1.0
child.yaml:5: geometry.encoding.levels: expected a whole number, got 'many'
child.yaml:6: guidance.type: unknown guidance type 'sdss'. Did you mean 'sds'?
child.yaml:7: optimizer.lr: expected a value in (0, 1000], got 0.0
child.yaml:9: loss.zoo.animal: expected one of lion, zebra, okapi, got 'zebbra'. Did you mean 'zebra'?
child.yaml:9: loss.zoo.count: between 0 and 10, got 11
child.yaml:9: loss.zoo.encoding: cannot be null. Available: dense-grid, frequency, hash-grid, integrated, tri-plane
child.yaml:10: loss.strict-zoo.keeper: a value is required (text). Write it in the YAML, or give loss.strict-zoo.keeper="…"
child.yaml:11: exporter.resolution: expected a whole number, got 'x'
child.yaml:12: output.turntable_size: expected an even number, got 33
child.yaml:13: trainer: expected a mapping, got a list
command line: 'x': expected key=value, for example seed=3
command line: camera.height: expected a whole number, got 'tall'""".splitlines()


def errors(text, *overrides):
    Path("child.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as raised:
        load_config(Path("child.yaml"), list(overrides))
    return [str(error) for error in raised.value.all]


def test_all_mistakes_are_collected_and_no_others(workplace):
    assert sorted(errors(WRONG, "x", "camera.height=tall")) == sorted(LINES)


def test_check_prints_them_all(workplace, capsys):
    Path("child.yaml").write_text(WRONG, encoding="utf-8")
    with pytest.raises(SystemExit) as end:
        main(["check", "child.yaml", "camera.height=tall"])
    assert end.value.code == 2
    assert sorted(capsys.readouterr().err.splitlines()) == sorted(line for line in LINES if "'x': expected key" not in line)


def test_a_field_whose_neighbour_is_wrong_is_checked_too(workplace):
    found = errors("extends: base.yaml\nloss: {zoo: {cuont: 1, count: 11}}\n")
    assert found == [
        "child.yaml:2: loss.zoo.cuont: unknown field of loss 'zoo'. Did you mean 'count'?",
        "child.yaml:2: loss.zoo.count: between 0 and 10, got 11",
    ]


def test_a_part_and_what_is_in_it_are_both_checked(workplace):
    found = errors("extends: base.yaml\ngeometry: {radius: -1, encoding: {levels: 1000}}\nprompt: {type: plainn}\n")
    assert [line.split(":")[1] + line.split(":")[2] for line in found] == [
        "3 prompt.type",
        "2 geometry.encoding.levels",
        "2 geometry.radius",
    ]


def test_ranges_and_the_checks_of_a_class_are_all_made(workplace):
    found = errors("extends: base.yaml\nname: ../x\nseed: -1\noutput: {turntable_size: 33, image_size: 0, keep_checkpoints: 0}\n")
    assert [line.split(": ")[1] for line in found] == [
        *("output.image_size", "output.keep_checkpoints", "output.turntable_size", "seed", "name")
    ]


def test_what_every_stage_inherits_is_named_once(workplace):
    found = errors("extends: base.yaml\nseed: x\nstages:\n  - {steps: 0}\n  - {steps: 2, geometri: {}, camera: {height: 0}}\n")
    assert sorted(found) == [
        "child.yaml:2: seed: expected a whole number, got 'x'",
        "child.yaml:4: stages[0].steps: expected a value in [1, 1000000000], got 0",
        "child.yaml:5: stages[1].camera.height: expected a value in [1, 4096], got 0",
        "child.yaml:5: stages[1].geometri: unknown key of a stage. Did you mean 'geometry'?",
    ]


def test_interpolations_of_what_is_wrong_are_no_second_mistake(workplace):
    found = errors("extends: base.yaml\nloss: {strict-zoo: {}}\nname: '${loss.strict-zoo.keeper}'\n")
    assert len(found) == 1 and "loss.strict-zoo.keeper: a value is required" in found[0]


def test_a_loss_and_a_guidance_of_one_name_are_refused(workplace):
    found = errors("extends: base.yaml\nguidance: {sparsity: {type: sds}}\nloss:\n  sparsity: {}\n")
    assert found == ["child.yaml:4: loss.sparsity: a guidance has that name too; their metrics need different ones"]
    stages = "stages: [{steps: 1}, {steps: 1, guidance: {sparsity: {type: sds}}}]"
    found = errors(f"extends: base.yaml\nloss: {{sparsity: {{}}}}\n{stages}\n")
    assert found == ["child.yaml:2: stages[1].loss.sparsity: a guidance has that name too; their metrics need different ones"]


@pytest.mark.parametrize("part", ["type: x", "type: {a: b}"])
def test_a_section_has_no_type(workplace, part):
    assert "trainer.type: unknown field of trainer" in errors(f"extends: base.yaml\ntrainer: {{{part}}}\n")[0]


@pytest.mark.parametrize(("key", "near"), [("guidance_scale", "guidance.guidance_scale"), ("max_steps", "trainer.max_steps")])
def test_a_field_at_the_top_is_looked_for_in_the_sections(workplace, key, near):
    assert errors(f"extends: base.yaml\n{key}: 3\n") == [f"child.yaml:2: {key}: unknown key of a run. Did you mean {near!r}?"]
