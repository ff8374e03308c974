from pathlib import Path

import pytest
from cases import BROKEN, HARMLESS, PARENT
from regenerate import message

EXPECTED = dict(
    block.split("\n", 1)
    for block in (Path(__file__).parent / "messages.txt").read_text(encoding="utf-8").removeprefix("# ").split("\n# ")
)


@pytest.mark.parametrize(("name", "text", "overrides"), BROKEN, ids=[name for name, _, _ in BROKEN])
def test_broken_config_is_refused_with_the_stored_message(workplace, name, text, overrides):
    Path("parent.yaml").write_text(PARENT, encoding="utf-8")
    told = message(text, overrides)
    assert told == EXPECTED[name].rstrip("\n")
    assert told and "\n" not in told
    assert told.startswith(("child.yaml", "parent.yaml", "command line: "))


def test_every_stored_message_belongs_to_a_case():
    assert list(EXPECTED) == [name for name, _, _ in BROKEN]


@pytest.mark.parametrize(("text", "overrides"), HARMLESS)
def test_harmless_config_passes(workplace, text, overrides):
    assert message(text, overrides) == ""
