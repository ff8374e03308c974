"""The derivation quotes the code and the tests as they are."""

from __future__ import annotations

import re

import pytest
from doc_blocks import ROOT

PAGE = (ROOT / "docs" / "score-distillation.md").read_text(encoding="utf-8")
QUOTES = re.findall(r"^```py (\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
TESTS = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))


@pytest.mark.parametrize(("file", "quoted"), QUOTES)
def test_quoted_lines_stand_in_the_file_in_this_order(file, quoted):
    lines = [line.strip() for line in (ROOT / file).read_text(encoding="utf-8").splitlines()]
    position = 0
    for line in quoted.strip().splitlines():
        assert line.strip() in lines[position:], f"{file}: {line}"
        position = lines.index(line.strip(), position) + 1


@pytest.mark.parametrize(("file", "name"), TESTS)
def test_named_tests_exist(file, name):
    assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8")


def test_every_section_after_the_first_has_a_test():
    sections = re.split(r"^## ", PAGE, flags=re.MULTILINE)[1:]
    assert len(sections) == 9 and all("`tests/" in section for section in sections)
    assert len(QUOTES) >= 9 and len(TESTS) >= 15
