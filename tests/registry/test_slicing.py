"""Config classes made from source equal those of the imported modules."""

import dataclasses
import typing

import pytest

from threefusion import discovery
from threefusion.cli.describe import describe
from threefusion.declarations import config_source
from threefusion.registry import KINDS, config_class, lookup
from threefusion.slicing import execute

ALL = sorted(key for key, declaration in discovery.catalogue().declarations.items() if declaration.origin == discovery.BUILT_IN)


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_slice_equals_import(kind, name):
    sliced = execute(config_source(discovery.find_declaration(kind, name).source))
    imported = config_class(lookup(kind, name))
    assert sliced.__name__ == imported.__name__ and sliced is not imported
    assert typing.get_type_hints(sliced) == typing.get_type_hints(imported)
    for ours, theirs in zip(dataclasses.fields(sliced), dataclasses.fields(imported), strict=True):
        assert (ours.name, ours.default, ours.metadata) == (theirs.name, theirs.default, theirs.metadata)


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_every_component_and_field_has_a_sentence(kind, name):
    described = describe(kind, name)
    assert described["summary"].endswith((".", ":"))
    for field in described["fields"]:
        assert field["sentence"].endswith("."), field["name"]


def test_each_config_class_belongs_to_one_component():
    classes = [config_source(discovery.find_declaration(kind, name).source).address for kind, name in ALL]
    assert len(classes) == len(set(classes))


def test_every_kind_has_a_component():
    assert {kind for kind, _ in ALL} == set(KINDS)
