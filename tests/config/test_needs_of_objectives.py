"""Parts of an objective that need what the prompt does not give are refused by name, however deep and in every form."""

from pathlib import Path

import pytest

from threefusion.config import ConfigError, load_config

NEEDS = "the contrast 'perp-neg' needs a prompt that gives blended-views, and {} gives nothing. Use the prompt interpolated"


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def refusal(text, *overrides):
    Path("run.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(Path("run.yaml"), list(overrides))
    return str(caught.value)


@pytest.mark.parametrize("prompt", ["binned", "plain"])
def test_a_contrast_that_needs_blended_views(prompt):
    text = f"prompt: {{type: {prompt}, text: a red car}}\nguidance:\n  contrast: perp-neg\n"
    found = refusal(text)
    assert found.startswith("run.yaml:3: guidance.contrast: " + NEEDS.format(f"'{prompt}'")), found
    load_config(Path("run.yaml"), ["prompt.type=interpolated", "prompt.text=a red car"])


def test_among_several_objectives():
    text = "prompt: {type: plain, text: a red car}\nguidance:\n  a: {type: sds}\n  b: {type: ism, contrast: {type: perp-neg}}\n"
    assert refusal(text).startswith("run.yaml:4: guidance.b.contrast: " + NEEDS.format("'plain'"))


def test_on_the_command_line():
    text = "prompt: {text: a red car}\nguidance: {contrast: perp-neg}\n"
    assert NEEDS.format("'plain'") in refusal(text, "prompt.type=plain", "prompt.text=a red car")


def test_of_a_stage_alone():
    text = """prompt: {type: plain, text: a red car}
stages:
- {name: one, steps: 1}
- name: two
  steps: 1
  guidance: {contrast: perp-neg}
"""
    assert refusal(text).startswith("run.yaml:6: stages[1].guidance.contrast: " + NEEDS.format("'plain'"))
