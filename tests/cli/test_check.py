"""The prompts that `check` refuses, and those that it warns of."""

from pathlib import Path

import pytest

from threefusion.cli import main as cli

RUN = "guidance: {prior: {type: pixel, model: toyworld-pixel}}\n"
BENCHMARK = "config: run.yaml\nprompts: [PROMPT]\nvariants: {a: {}}\n"
UNKNOWN = "toyworld-pixel knows no object in 'a red automobile'. Did you mean 'car'?"


@pytest.fixture(params=["run.yaml", "bench.yaml"])
def check(request, tmp_path, monkeypatch, capsys):
    """Checks a config, or a benchmark of it, with a prompt: the exit code and the lines on stderr."""
    monkeypatch.chdir(tmp_path)

    def answer(prompt, *words):
        Path("run.yaml").write_text(f"prompt: {{text: {prompt}}}\n{RUN}")
        Path("bench.yaml").write_text(BENCHMARK.replace("PROMPT", prompt))
        return cli.run(["check", *words, request.param]), capsys.readouterr().err.splitlines()

    return answer


def test_a_known_prompt_is_silent(check):
    assert check("a red car") == (0, [])


def test_an_unknown_object_is_refused_with_its_nearest_name_and_the_ways_out(check):
    code, (line,) = check("a red automobile")
    assert code == 2 and UNKNOWN in line and "dreamfusion-sd.yaml" in line and line.endswith("add --anyway.")


def test_an_unknown_object_is_a_warning_with_anyway(check):
    code, (line,) = check("a red automobile", "--anyway")
    assert code == 0 and line.startswith("warning: ") and UNKNOWN in line and "--anyway" not in line


@pytest.mark.parametrize("words", [(), ("--anyway",)])
def test_an_unknown_word_is_a_warning(check, words):
    code, (line,) = check("a purpel car", *words)
    assert (
        code == 0
        and line.startswith("warning: ")
        and line.endswith("does not know the word 'purpel' and will not follow it. Did you mean 'purple'?")
    )


def test_a_damaged_vocabulary_ends_no_other_check(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("model").mkdir()
    Path("model/toyworld.json").write_text("[" * 200_000)
    Path("bad.yaml").write_text("prompt: {text: a car}\nguidance: {prior: {type: pixel, model: ./model}}\n")
    Path("good.yaml").write_text(f"prompt: {{text: a car}}\n{RUN}")
    assert cli.run(["check", "bad.yaml", "good.yaml"]) == 2
    out, errors = capsys.readouterr()
    assert out == "good.yaml: ok\n" and "/model/toyworld.json: cannot be read (" in errors and errors.count("\n") == 1
