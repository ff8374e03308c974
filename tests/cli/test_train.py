"""What `train`, `render` and `export` hand on; the work itself is tested elsewhere."""

from pathlib import Path

import pytest

from threefusion.cli import main as cli
from threefusion.config import config_to_yaml, load_config
from threefusion.errors import UserError


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """An empty current directory with run.yaml, and the list of (config, run folder) that were trained."""
    import threefusion.run.training

    calls = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("THREEFUSION_RUN", raising=False)
    monkeypatch.setattr(threefusion.run.training, "train", lambda config, run, until: calls.append((config, run)) or 0)
    Path("run.yaml").write_text("prompt: {text: a cat}\nguidance: {prior: gaussian}\n", encoding="utf-8")
    return calls


def test_prompt_and_overrides_reach_the_run(trained):
    assert (
        cli.run(["train", "seed=3", "--config", "run.yaml", "geometry.radius=2", "--prompt", "a dog: 1=2", "--out", "here"]) == 0
    )
    ((config, run),) = trained
    assert (config.seed, config.geometry.radius, config.prompt.text) == (3, 2.0, "a dog: 1=2")
    assert run == Path("here") and load_config(run / "config.yaml", []) == config


def test_two_runs_never_share_a_folder(trained):
    for _ in range(2):
        cli.run(["train", "--config", "run.yaml"])
    assert [str(run) for _, run in trained] == ["runs/run/a-cat-1", "runs/run/a-cat-2"]


def test_resume_takes_the_run_and_leaves_its_config_to_the_training(trained):
    Path("old").mkdir()
    Path("old/config.yaml").write_text(config_to_yaml(load_config(Path("run.yaml"), ["trainer.max_steps=5"])), encoding="utf-8")
    cli.run(["train", "--resume", "old", "trainer.max_steps=9"])
    cli.run(["train", "--resume", "old"])
    assert [config.trainer.max_steps for config, _ in trained] == [9, 5]
    assert {run for _, run in trained} == {Path("old")} and [path.name for path in Path("old").iterdir()] == ["config.yaml"]


STAGES = "stages: [{name: coarse, steps: 1}, {name: fine, steps: 1}]\n"
STAGE_ERRORS = {
    "--until-stage coarce": "--until-stage coarce: no such stage. Did you mean 'coarse'?",
    "--until-stage 2": "--until-stage 2: no such stage. Available: coarse, fine",
    "--until-stage -1": "--until-stage -1: no such stage. Available: coarse, fine",
    "--from-stage fine": "--from-stage trains stages of a run again: name the run with --resume RUN",
    "--from-stage nothing": "--from-stage nothing: no such stage. Available: coarse, fine",
    "--until-stage fine stages=null": "--until-stage fine: this run has no stages",
}


@pytest.mark.parametrize("options", STAGE_ERRORS)
def test_a_stage_that_cannot_be_meant_is_refused_before_there_is_a_folder(trained, capsys, options):
    Path("run.yaml").write_text(Path("run.yaml").read_text() + STAGES)
    with pytest.raises(SystemExit) as end:
        cli.main(["train", "--config", "run.yaml", *options.split()])
    assert end.value.code == 2 and capsys.readouterr().err.strip().endswith(STAGE_ERRORS[options])
    assert not Path("runs").exists() and not trained


def test_stages_in_the_wrong_order_are_refused(trained):
    Path("run.yaml").write_text(Path("run.yaml").read_text() + STAGES)
    cli.run(["train", "--config", "run.yaml", "--out", "old", "--until-stage", "1"])
    with pytest.raises(UserError, match=r"^--until-stage 0 comes before --from-stage fine$"):
        cli.run(["train", "--resume", "old", "--from-stage", "fine", "--until-stage", "0"])


def test_words_that_were_accepted_are_not_asked_about_again(trained):
    odd = ["prompt.text=zxqv", "guidance.prior={type: pixel, model: toyworld-pixel}"]
    with pytest.raises(UserError, match="knows no object"):
        cli.run(["train", "--config", "run.yaml", *odd])
    cli.run(["train", "--config", "run.yaml", "--out", "odd", "--anyway", *odd])
    cli.run(["train", "--resume", "odd"])
    assert len(trained) == 2


def test_a_prompt_that_is_accepted_anyway_is_warned_of_at_the_start(trained, capsys):
    odd = ["prompt.text=an automobil", "guidance.prior={type: pixel, model: toyworld-pixel}"]
    cli.run(["train", "--config", "run.yaml", "--anyway", *odd])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: toyworld-pixel knows no object in 'an automobil'.") and "--anyway" not in line


def test_what_is_wrong_with_files_and_arguments_is_one_line(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("")
    Path("run.yaml").write_text("prompt: {text: a cat}\nguidance: {prior: gaussian}\n", encoding="utf-8")
    for words, said in (
        (["train", "--config", "run.yaml", "--out", "file"], "error: --out file: is a file. Name another folder"),
        (["check", "run.yaml", "camera=\udcff"], "error: 'camera=\\udcff': not text in UTF-8"),
        (
            ["check", "run.yaml", "seed=99999999999999999999"],
            "seed: expected a finite number below 2**63, got 99999999999999999999",
        ),
        (["check", "run.yaml", "optimizer.weight_decay=0.1"], "optimizer.weight_decay: only with variant adamw"),
        (
            ["train", "--config", "run.yaml", "--out", "new", "trainer.devices=0"],
            "command line: trainer.devices: expected a number of devices from 1 up",
        ),
    ):
        with pytest.raises(SystemExit) as end:
            cli.main(words)
        error = capsys.readouterr().err.strip()
        assert end.value.code == 2 and said in error and "\n" not in error, error
    # nothing half-written: the corrected command can have the name
    assert not Path("new").exists()


@pytest.mark.parametrize(("error", "code", "line"), [(KeyboardInterrupt, 130, "interrupted"), (BrokenPipeError, 0, "")])
def test_interruptions_have_their_exit_code(monkeypatch, capsys, error, code, line):
    def interrupted(_):
        raise error

    monkeypatch.setattr(cli, "run", interrupted)
    monkeypatch.setattr("sys.stderr.close", lambda: None, raising=False)
    with pytest.raises(SystemExit) as end:
        cli.main([])
    assert end.value.code == code and capsys.readouterr().err.strip() == line


def test_a_defect_of_the_program_keeps_its_traceback(monkeypatch):
    def broken(_):
        raise ZeroDivisionError

    monkeypatch.setattr(cli, "run", broken)
    with pytest.raises(ZeroDivisionError):
        cli.main([])
