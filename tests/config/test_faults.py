"""Values that no run can use are refused in one line, quickly, whatever they are."""

import inspect
import time
from dataclasses import fields
from pathlib import Path

import pytest

from threefusion.config import ConfigError, load_config
from threefusion.config.document import COMMAND_LINE
from threefusion.config.sections import RESERVED, SET_BY_THE_RUN, TrainerConfig

HEAD = "prompt: {type: plain, text: a lion}\n"
REFUSED = {
    "trainer.max_steps=-5": "expected a value in [-1, 1000000000], got -5",
    "trainer.max_steps=-1": "-1 needs trainer.max_time",
    "trainer.limit_train_batches=0": "expected a whole number from 1 up, or a fraction above 0 up to 1",
    "trainer.limit_train_batches=1.5": "expected a whole number from 1 up, or a fraction above 0 up to 1",
    "trainer.accumulate_grad_batches=0": "expected a value in [1, 10000], got 0",
    "trainer.accelerator=gpuu": "got 'gpuu'. Did you mean 'gpu'?",
    "trainer.precision=bf16-mixd": "Did you mean 'bf16-mixed'?",
    "trainer.precision=17": "got 17",
    "trainer.precision=bf16-true": "Did you mean 'bf16-mixed'?",
    "trainer.precision=64-true": "got '64-true'",
    "trainer.strategy=dpp": "expected auto, ddp, ddp_spawn, fsdp, deepspeed or another strategy of Lightning, got 'dpp'",
    "trainer.profiler=simpel": "Did you mean 'simple'?",
    "trainer.max_time=1h": "expected DD:HH:MM:SS, got '1h'",
    "trainer.devices=0": "expected a number of devices from 1 up, auto, or a list of device indices",
    "trainer.devices=[]": "expected a number of devices from 1 up, auto, or a list of device indices",
    "trainer.devices=two": "expected a number of devices from 1 up, auto, or a list of device indices, got 'two'",
    "trainer.num_nodes=0": "expected a value in [1, 10000], got 0",
    "trainer.gradient_clip_val=-1": "expected a value in [0, 1e+09], got -1",
    "trainer.gradient_clip_algorithm=nrm": "Did you mean 'norm'?",
    "trainer.log_every_n_steps=0": "expected a value in [1, 1000000000], got 0",
    "exporter.formats=[glbb]": "exporter.formats[0]: expected one of glb, obj, ply, stl, 3mf, usdz, got 'glbb'. Did you mean",
    "exporter.formats=[]": "expected at least one",
    "optimizer.lr=.inf": "expected a finite number below 2**63, got ",
    "optimizer.lr=1e400": "expected a finite number below 2**63, got ",
    "optimizer.lr=1e22": "expected a finite number below 2**63, got ",
    "optimizer.lr=.nan": "expected a number",
    "optimizer.lr=nan": "expected a number, got 'nan'",
    "optimizer.lr=0": "expected a value in (0, 1000], got 0.0",
    "optimizer.betas=[0.9,1.5]": "expected a value in [0, 1)",
    "optimizer.eps=-1": "expected a value in [0, 1], got -1.0",
    "optimizer.groups.geometry=-1": "optimizer.groups: expected a value in [0, 1000]",
    "optimizer.schedule={knots: {1e2: 1, 100: 2}}": "optimizer.schedule.knots.100: given twice",
    "optimizer.schedule={knots: {-1: 1}}": "optimizer.schedule.knots.-1: expected a step, a whole number >= 0, got '-1'",
    "optimizer.schedule={knots: {0: .inf}}": "optimizer.schedule.knots.0: expected a finite number below 2**63, got inf",
    "guidance.t_min={knots: {0: 2}}": "expected a value in [0, 1]",
    "guidance.t_min=0.99": "expected at most t_max at every step; at step 0 it is larger",
    "facing.views=1000000000": "expected a value in [1, 1024], got 1000000000",
    "facing.steps=[-1]": "expected a value in [0, 1000000000]",
    "camera.height=100000": "expected a value in [1, 4096], got 100000",
    "camera.batch_size=10000000000000000000000": "expected a finite number below 2**63, got 10000000000000000000000",
    "camera.distance_range=[2,1]": "expected two numbers in increasing order in [0.001, 1000]",
    "output.image_size=1000000": "expected a value in [1, 4096], got 1000000",
    "seed=017": "expected a whole number, got '017'",
    "seed=-1": "expected a value in [0, 9223372036854775807], got -1",
    "seed=true": "expected a whole number, got true",
    "loss={'': {type: sparsity}}": "loss.: a name for one loss: expected letters, digits, - and _",
    "loss={a.b: {type: sparsity}}": "loss.a.b: a name for one loss: expected letters, digits, - and _",
    "loss.forward.type=sparsity": "loss.forward: a name for one loss: is taken",
    "loss.guidance.type=sparsity": "loss.guidance: a name for one loss: is taken",
    "loss.step.type=sparsity": "loss.step: a name for one loss: is taken",
    "guidance={step: {type: sds}}": "guidance.step: a name for one guidance: is taken",
}


def refusal(text, *overrides, seconds=10):
    """The message of a refused config; type checks of every call make tests ten times slower than a run."""
    Path("child.yaml").write_text(text, encoding="utf-8")
    started = time.perf_counter()
    with pytest.raises(ConfigError) as told:
        load_config(Path("child.yaml"), list(overrides))
    assert time.perf_counter() - started < seconds
    assert "\n" not in str(told.value)
    return str(told.value)


@pytest.mark.parametrize("override", REFUSED)
def test_a_value_that_no_run_can_use_is_refused(workplace, override):
    told = refusal(HEAD, override)
    key = override.lstrip("+~").partition("=")[0]
    assert told.startswith(f"{COMMAND_LINE}: {key.split('.')[0]}") and REFUSED[override] in told


def test_a_shallow_alias_bomb_is_one_line(workplace):
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    assert refusal("\n".join(lines) + "\n", seconds=60).endswith("20000 values with aliases expanded")


def test_deep_nesting_is_one_line(workplace):
    assert "32 levels of nesting" in refusal(f"a: {'[' * 500}{']' * 500}\n")
    assert "not valid YAML" in refusal(f"a: {'[' * 100_000}\n")
    assert refusal(HEAD, ".".join("a" * 3000) + "=1").endswith("nested more than 32 levels deep")


def test_a_long_chain_of_parents_is_one_line(workplace):
    for n in range(1500):
        Path(f"p{n}.yaml").write_text(f"extends: p{n + 1}.yaml\n")
    Path("p1500.yaml").write_text(HEAD)
    assert refusal("extends: p0.yaml\n").endswith("extends: more than 100 files, or nested more than 32 levels deep")


def test_parents_that_multiply_are_one_line(workplace):
    for n in range(30):
        Path(f"p{n}.yaml").write_text(f"extends: [p{n + 1}.yaml, p{n + 1}.yaml]\n")
    Path("p30.yaml").write_text(HEAD)
    assert refusal("extends: p0.yaml\n").endswith("extends: more than 100 files, or nested more than 32 levels deep")


PLUGIN = """
from __future__ import annotations
from dataclasses import dataclass
from threefusion.loss.settings import LossConfig
from threefusion.registry import component

@component("loss", "odd", "odd_{name}:Odd")
@dataclass(frozen=True)
class OddConfig(LossConfig):
    '''Settings.'''
    value: {type} = {default}
    '''A value.'''
    def __post_init__(self) -> None:
        {check}
"""
ODD = {
    "a class": ("slice | None", "None", "pass", "loss.odd.value: Unexpected type annotation: slice"),
    "ZeroDivisionError": ("int", "1", "1 / 0", "OddConfig failed: ZeroDivisionError: division by zero"),
    "KeyError": ("int", "1", "{}['x']", "OddConfig failed: KeyError: 'x'"),
    "exit": ("int", "1", "raise SystemExit(3)", "OddConfig failed: SystemExit: 3"),
    "several lines": ("int", "1", "raise ValueError('a\\nb')", "a b"),
}


@pytest.mark.parametrize("name", ODD)
def test_odd_settings_of_a_plugin_are_one_line(workplace, name):
    kind, default, check, reason = ODD[name]
    module = f"{abs(hash(name))}"
    text = PLUGIN.format(type=kind, default=default, check=check, name=module)
    Path(f"plugins/odd_{module}.py").write_text(text)
    told = refusal(HEAD + "loss: {odd: {}}\n")
    assert told.startswith("child.yaml:2: loss.odd") and reason in told


def test_a_union_of_containers_is_no_trouble(workplace):
    Path("plugins/odd_union.py").write_text(PLUGIN.format(type="int | list[int]", default="1", check="pass", name="union"))
    Path("child.yaml").write_text(HEAD + "loss: {odd: {value: [1, 2]}}\n", encoding="utf-8")
    assert load_config(Path("child.yaml"), []).losses["odd"].value == [1, 2]


def test_the_trainers_fields_are_lightnings_arguments():
    from pytorch_lightning import Trainer

    known = set(inspect.signature(Trainer.__init__).parameters)
    own = {field.name for field in fields(TrainerConfig)}
    assert own - known == {"collective_timeout"} and set(SET_BY_THE_RUN) <= known and not own & set(SET_BY_THE_RUN)
    words = ("val", "test", "predict", "epoch", "overfit", "fast_dev_run", "barebones", "plugins", "inference_mode", "autolog")
    left = known - own - set(SET_BY_THE_RUN) - {"self", "model_registry"}
    assert [name for name in left if not any(word in name for word in words)] == []


def test_reserved_names_are_those_of_torchs_modules():
    from torch import nn
    from transformers import CLIPConfig, CLIPModel

    sizes = {"hidden_size": 4, "intermediate_size": 4, "num_attention_heads": 1, "num_hidden_layers": 1}
    CLIPModel(CLIPConfig(text_config={**sizes, "vocab_size": 8}, vision_config=sizes))  # a model adds a method to all modules
    assert hasattr(nn.Module, "smart_apply")

    methods = {name for name in dir(nn.ModuleDict()) if not name.startswith("_")}
    rare = {name for name in methods if "hook" in name or name in ("dump_patches", "ipu")}
    assert methods - rare <= RESERVED
