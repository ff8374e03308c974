"""The settings of every component of the package: described, bounded, and each of one component alone."""

import dataclasses
import typing

import pytest

from threefusion.cli.describe import component_source, describe
from threefusion.config.catalogue import BUILT_IN, Catalogue
from threefusion.config.fields import Settings, numbers, ranges
from threefusion.config.run import SECTIONS
from threefusion.registry import KINDS, entry_of

CATALOGUE = Catalogue(())
ALL = [entry for entry in CATALOGUE.entries() if CATALOGUE.origin(entry) == BUILT_IN]
UNBOUNDED = {"devices", "limit_train_batches"}
"""Fields whose own check says more than a range could."""


def name(entry):
    return f"{entry.kind}-{entry.name}"


@pytest.mark.parametrize("entry", ALL, ids=name)
def test_target_is_the_class_whose_constructor_takes_the_settings(entry):
    assert entry.load().__name__ == component_source(entry.target)[1].name
    assert entry_of(entry.settings) is entry and issubclass(entry.settings, Settings)


@pytest.mark.parametrize("entry", ALL, ids=name)
def test_every_component_and_field_has_a_sentence(entry):
    described = describe(entry.kind, entry.name)
    assert described["summary"].endswith((".", ":"))
    for field in described["fields"]:
        assert field["sentence"].endswith("."), field["name"]


@pytest.mark.parametrize("cls", [*(entry.settings for entry in ALL), *SECTIONS.values()])
def test_every_number_has_a_range_that_is_enforced(cls):
    hints = typing.get_type_hints(cls)
    given = {"text": "a cat"} if "text" in hints else {}
    needed = [f.name for f in dataclasses.fields(cls) if f.default is f.default_factory is dataclasses.MISSING]
    given |= dict.fromkeys(needed, "picture.png")
    for field in dataclasses.fields(cls):
        holds_numbers = any(word in str(hints[field.name]) for word in ("int", "float", "Schedule"))
        if field.name in UNBOUNDED or not holds_numbers or "Literal[" in str(hints[field.name]):
            continue
        limits = ranges(cls)[field.name]
        value = getattr(cls(**given), field.name)
        if value is None or list(numbers(value)) == []:
            continue
        above = limits.high * 2 + 1
        above = int(above) if "int" in str(hints[field.name]) else float(above)
        wrong = tuple(above for _ in value) if isinstance(value, tuple) else above
        if "Schedule" in str(hints[field.name]):
            wrong = type(value).constant(above)
        with pytest.raises(ValueError, match=rf"{field.name}: expected .*in [\[(]"):
            cls(**given, **{field.name: wrong})


def test_each_settings_class_belongs_to_one_component():
    assert len(ALL) == len({entry.settings for entry in ALL})


def test_every_kind_has_a_component():
    assert {entry.kind for entry in ALL} == set(KINDS)
