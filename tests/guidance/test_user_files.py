"""Files of the user's are looked at before a run starts; a finished run is read without them."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from threefusion.config import config_to_yaml, load_config
from threefusion.guidance.prior.files import ModelError
from threefusion.guidance.prior.vocabulary import prompt_warnings

LORA = {"unet.conv_in.lora_A.weight": torch.ones(1, 36), "unet.conv_in.lora_B.weight": torch.ones(1, 1)}


@pytest.fixture
def config(tmp_path):
    def load(text, *overrides):
        (tmp_path / "mine.yaml").write_text(f"extends: quickstart-latent.yaml\nguidance:\n  prior:\n    {text}\n")
        return load_config(tmp_path / "mine.yaml", list(overrides))

    return load


def test_paths_start_at_the_file_that_names_them_and_are_kept_in_full(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path.parent)
    run = config("lora: [{path: sub/a.safetensors, scale: 0.5}]", "guidance.prior.textual_inversion=[b.safetensors]")
    prior = run.guidance["guidance"].prior
    assert prior.lora[0].path == str(tmp_path / "sub" / "a.safetensors") and prior.lora[0].scale == 0.5
    assert prior.textual_inversion == (str(tmp_path.parent / "b.safetensors"),)
    (tmp_path / "config.yaml").write_text(config_to_yaml(run))
    assert load_config(tmp_path / "config.yaml", ["name=mine"]) == run


@pytest.mark.parametrize("field", ["lora: [{path: a.safetensors}]", "textual_inversion: [a.safetensors]"])
def test_a_missing_or_damaged_file_ends_before_training(config, tmp_path, field):
    file = tmp_path / "a.safetensors"
    with pytest.raises(ModelError, match=f"{file}: no such file"):
        prompt_warnings(config(field), anyway=False)
    file.write_bytes(b"half")
    with pytest.raises(ModelError, match=f"{file}: cut off"):
        prompt_warnings(config(field), anyway=True)


def test_a_token_that_no_prompt_has_is_a_warning(config, tmp_path):
    save_file({"<clay>": torch.zeros(1, 64)}, tmp_path / "a.safetensors")
    text = "textual_inversion: [a.safetensors]"
    assert prompt_warnings(config(text, "prompt.text=a red car"), False) == [
        f"{tmp_path / 'a.safetensors'}: no prompt has its token '<clay>'"
    ]
    assert not any("<clay>" in warning for warning in prompt_warnings(config(text, "prompt.text=a red <CLAY> car"), False))


def test_a_good_lora_passes(config, tmp_path):
    save_file(LORA, tmp_path / "a.safetensors")
    assert prompt_warnings(config("lora: [{path: a.safetensors}]", "prompt.text=a red car"), False) == []


def test_imports_no_torch():
    import subprocess
    import sys

    code = "import sys, threefusion.guidance.prior.user_files; assert not {'torch', 'diffusers'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=Path(__file__).parents[2]).returncode == 0
