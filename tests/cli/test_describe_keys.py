"""`describe` knows every key of a run, not components alone."""

import json

import pytest

from threefusion.cli.main import run
from threefusion.config.run import NAMED, PARTS, SECTIONS
from threefusion.errors import UserError
from threefusion.registry import KINDS


@pytest.mark.parametrize("key", [*SECTIONS, "stages"])
def test_a_section_is_described_with_all_fields(key, capsys):
    run(["describe", key, "--json"])
    described = json.loads(capsys.readouterr().out)
    assert described["key"] == key and described["doc"]
    run(["describe", key])
    page = capsys.readouterr().out
    assert page.startswith(f"{key}\n\n{described['doc']}")
    for field in described["fields"]:
        assert f"  {field['name']}: " in page and field["sentence"].endswith(".") and field["sentence"] in page


@pytest.mark.parametrize("key", [*PARTS, *NAMED, "loss", "encoding", "sampler", "prior"])
def test_a_kind_alone_lists_its_components(key, capsys):
    assert key in KINDS
    run(["describe", key])
    listed = capsys.readouterr().out
    assert listed.startswith(f"{key}\n  ") and f"describe {key} NAME" in listed
    run(["describe", key, "--json"])
    assert {component["kind"] for component in json.loads(capsys.readouterr().out)["components"]} == {key}


def test_the_fields_of_output(capsys):
    run(["describe", "output"])
    sentence = "How many of the newest checkpoints are kept."
    assert f"  keep_checkpoints: int = 2  in [1, 1000000]\n      {sentence}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["outptu"], "unknown key or kind 'outptu'. Did you mean 'output'"),
        (["output", "image_size"], "'output' is a key of a run without components: describe output"),
        (["logger", "wandbb"], "unknown logger type 'wandbb'. Did you mean 'wandb'"),
    ],
)
def test_what_is_not_there_has_its_nearest(words, message):
    with pytest.raises(UserError, match=message):
        run(["describe", *words])
