from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from threefusion.component import Component
from threefusion.config import Settings
from threefusion.config.catalogue import Catalogue, settings_class
from threefusion.registry import RegistryError, build, component, register

if TYPE_CHECKING:
    from nowhere import Unknown


@dataclass(frozen=True)
class TermConfig(Settings):
    size: int = 2


class Term(Component):
    kind = "loss"

    def __init__(self, cfg: TermConfig, *dependencies: "Unknown") -> None:
        super().__init__()
        self.cfg, self.dependencies = cfg, dependencies


def test_running_code_can_register(plugins):
    register("registry-test-term")(Term)
    assert "registry-test-term" in Catalogue(()).names("loss")
    assert settings_class("loss", "registry-test-term") is TermConfig
    built = build(TermConfig(size=3), "a", "b")
    assert (built.cfg, built.dependencies) == (TermConfig(3), ("a", "b"))


def test_settings_belong_to_one_component(plugins):
    register("registry-test-term")(Term)
    register("registry-test-term")(Term)
    twin = type("Twin", (Term,), {})
    with pytest.raises(RegistryError, match=r"TermConfig belongs to the loss 'registry-test-term'; derive a settings class"):
        register("registry-test-twin")(twin)


def test_a_class_without_kind_is_refused():
    with pytest.raises(RegistryError, match="has no component base class"):
        register("x")(type("X", (), {}))


def test_an_unknown_kind_is_refused():
    with pytest.raises(RegistryError, match=r"unknown kind 'los'. Did you mean 'loss'"):
        component("los", "x", "nowhere:X")(TermConfig)


def test_settings_of_no_component_cannot_be_built():
    with pytest.raises(RegistryError, match="Settings is not registered"):
        build(Settings())
