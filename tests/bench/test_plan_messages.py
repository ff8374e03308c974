"""A benchmark is checked as a whole before anything starts; what is wrong is one line with file and line."""

from __future__ import annotations

from pathlib import Path

import pytest

from threefusion.bench.plan import load_plan
from threefusion.cli.main import run
from threefusion.config import ConfigError

HEAD = "config: run.yaml\nvariants: {a: {}, b: {}}\nprompts: [a red ball]\n"
WRONG = {
    "missing file": (None, "compare.yaml: no such file. Did you mean '"),
    "empty file": ("", "compare.yaml:1: an empty file: expected a benchmark, see configs/bench/quick.yaml"),
    "unknown key": (HEAD + "promts: []\n", "compare.yaml:4: promts: unknown key of a benchmark. Did you mean 'prompts'?"),
    "no variants": (
        "prompts: [a]\n",
        "compare.yaml:1: variants: a benchmark needs 'name: {config: FILE, overrides: [key=value, …]}' lines",
    ),
    "empty variants": ("variants: {}\n", "compare.yaml:1: variants: expected at least one"),
    "list of variants": (
        "variants: [a]\n",
        "compare.yaml:1: variants: expected 'name: {config: FILE, overrides: [key=value, …]}' lines, got a list",
    ),
    "variant that is a file": (
        "variants: {a: run.yaml}\n",
        "compare.yaml:1: variants.a: expected {config: FILE, overrides: [key=value, …]}, got 'run.yaml'",
    ),
    "variant's name": (
        "variants: {a b: {config: run.yaml}}\n",
        "compare.yaml:1: variants.a b: expected a name of letters, digits, '-', '_' or '.'",
    ),
    "unknown key of a variant": (
        "config: run.yaml\nvariants:\n  a: {override: [seed=1]}\n",
        "compare.yaml:3: variants.a.override: unknown key of a variant. Did you mean 'overrides'?",
    ),
    "no config": ("variants: {a: }\n", "compare.yaml:1: variants.a.config: name the run config, here or once under 'config'"),
    "missing config": (
        "variants:\n  a:\n    config: runn.yaml\n",
        "compare.yaml:3: variants.a.config: no file 'runn.yaml' as seen from compare.yaml. Did you mean 'run.yaml'?",
    ),
    "setting of the grid": (
        "config: run.yaml\nvariants:\n  a:\n    overrides:\n      - seed=3\n",
        "compare.yaml:5: variants.a.overrides: 'seed=3': the benchmark sets seed. List it under 'seeds'",
    ),
    "override of an unknown field": (
        "config: run.yaml\nprompts: [a red ball]\nvariants:\n  a: {}\n  b:\n    overrides:\n      - geometry.radius=1\n"
        "      - geometry.radus=2\n      - geometry.radius=3\n",
        "compare.yaml:8: variants.b.overrides: geometry.radus: unknown field of geometry 'density-field'. Did you mean 'radius'?",
    ),
    "wrong override of all": (
        HEAD + "overrides: [geometry.radius=wide]\n",
        "compare.yaml:4: variants.a.overrides: geometry.radius: expected a number, got 'wide'",
    ),
    "column that no evaluation has": (
        HEAD + "columns:\n  - truth.skill\n  - truth.silhouete_iou\n",
        "compare.yaml:6: columns[1]: no evaluation has 'truth.silhouete_iou'. Did you mean 'truth.silhouette_iou'?",
    ),
    "column like none": (
        HEAD + "columns: [beauty]\n",
        "compare.yaml:4: columns[0]: no evaluation has 'beauty'. docs/evaluation.md lists them",
    ),
    "override that is none": (
        HEAD + "overrides: [fast]\n",
        "compare.yaml:4: variants.a.overrides: 'fast': expected key=value, for example seed=3",
    ),
    "text for overrides": (
        HEAD + "overrides: seed=3\n",
        "compare.yaml:4: overrides: expected a list of texts, got 'seed=3'",
    ),
    "error in the run config": (
        "config: bad.yaml\nvariants: {a: }\nprompts: [a]\n",
        "bad.yaml:1: sed: unknown key of a run. Did you mean 'seed'?",
    ),
    "no prompts": ("config: run.yaml\nvariants: {a: }\n", "compare.yaml:1: prompts: a value is required (a list)"),
    "empty prompts": ("config: run.yaml\nvariants: {a: }\nprompts: []\n", "compare.yaml:3: prompts: expected at least one"),
    "prompt twice": (
        "config: run.yaml\nvariants: {a: }\nprompts:\n  - a cat\n  - a dog\n  - a cat\n",
        "compare.yaml:6: prompts[2]: 'a cat' is given twice",
    ),
    "unknown object": (
        "config: toy.yaml\nvariants: {a: }\nprompts:\n  - a red ball\n  - a purple unicorn\n",
        "compare.yaml:5: prompts: toyworld-pixel knows no object in 'a purple unicorn'. It knows ",
    ),
    "text for a seed": (HEAD + "seeds: [0, one]\n", "compare.yaml:4: seeds[1]: expected a whole number, got 'one'"),
    "no threads": (HEAD + "threads: 0\n", "compare.yaml:4: threads: expected a value in [1, 4096], got 0"),
    "name": (HEAD + "name: a/b\n", "compare.yaml:4: name: expected letters, digits, '-', '_' or '.', got 'a/b'"),
    "unknown baseline": (HEAD + "baseline: c\n", "compare.yaml:4: baseline: unknown variant 'c'. Available: a, b"),
    "unknown logger": (HEAD + "logger: wandbb\n", "compare.yaml:4: logger: unknown logger type 'wandbb'. Did you mean 'wandb'?"),
    "unknown logger field": (
        HEAD + "logger: {type: wandb, projekt: x}\n",
        "compare.yaml:4: logger.projekt: unknown field of logger 'wandb'. Did you mean 'project'?",
    ),
    "unknown option of eval": (
        HEAD + "evaluation: {view: 3}\n",
        "compare.yaml:4: evaluation.view: unknown field of evaluation. Did you mean 'views'?",
    ),
    "option of eval out of range": (
        HEAD + "evaluation: {views: 0}\n",
        "compare.yaml:4: evaluation.views: expected a value in [4, 120], got 0",
    ),
    "text for evaluation": (HEAD + "evaluation: yes\n", "compare.yaml:4: evaluation: expected a mapping, got 'yes'"),
}


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("run.yaml").write_text("guidance: {prior: gaussian}\n")
    Path("toy.yaml").write_text("guidance: {prior: {type: pixel, model: toyworld-pixel}}\n")
    Path("bad.yaml").write_text("sed: 1\n")


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_one_line(what: str, workplace: None) -> None:
    text, message = WRONG[what]
    if text is not None:
        Path("compare.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        load_plan(Path("compare.yaml"), [])
    told = str(error.value)
    assert told.startswith(message) and "\n" not in told
    assert told == message or message.endswith(("It knows ", "Did you mean '"))


def test_overrides_of_the_command_line_are_blamed_as_such(workplace: None) -> None:
    Path("compare.yaml").write_text(HEAD)
    for override, message in {
        "geometry.radus=1": "command line: geometry.radus: unknown field of geometry 'density-field'. Did you mean 'radius'?",
        "seed=1": "command line: overrides: 'seed=1': the benchmark sets seed. List it under 'seeds'",
    }.items():
        with pytest.raises(ConfigError) as error:
            load_plan(Path("compare.yaml"), [override])
        assert str(error.value) == message


def test_the_plan_is_the_whole_grid_with_a_config_for_each_cell(workplace: None) -> None:
    Path("compare.yaml").write_text(
        "config: run.yaml\noverrides: [geometry.radius=1]\nprompts: ['a cat: 1=2', a dog]\nseeds: [3, 1]\n"
        "variants:\n  plain: {}\n  wide: {overrides: [geometry.radius=2]}\n"
    )
    plan = load_plan(Path("compare.yaml"), ["optimizer.lr=0.5"])
    made = [(cell.variant, cell.config.prompt.text, cell.config.seed, cell.config.geometry.radius) for cell in plan.cells]
    assert made == [
        (variant, prompt, seed, radius)
        for variant, radius in (("plain", 1.0), ("wide", 2.0))
        for prompt in ("a cat: 1=2", "a dog")
        for seed in (3, 1)
    ]
    assert {cell.config.optimizer.lr for cell in plan.cells} == {0.5}
    assert plan.name == "compare"
    started = [(cell.seed, cell.prompt, cell.variant) for cell in plan.in_running_order()]
    assert started[:3] == [(3, "a cat: 1=2", "plain"), (3, "a cat: 1=2", "wide"), (3, "a dog", "plain")]


def test_check_tells_a_benchmark_from_a_run(workplace: None, capsys: pytest.CaptureFixture) -> None:
    Path("compare.yaml").write_text(HEAD + "seeds: []\n")
    assert run(["check", "compare.yaml", "run.yaml", "prompt.text=a cat"]) == 2
    printed = capsys.readouterr()
    assert printed.out == "run.yaml: ok\n"
    assert (
        printed.err == "command line: overrides: 'prompt.text=a cat': the benchmark sets prompt.text. List it under 'prompts'\n"
    )


def test_a_hidden_file_needs_a_name(workplace: None) -> None:
    Path(".compare.yaml").write_text(HEAD)
    with pytest.raises(ConfigError, match=r"^\.compare\.yaml:1: name: needed, because the file's name begins with a dot$"):
        load_plan(Path(".compare.yaml"), [])
