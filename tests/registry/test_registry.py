from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from threefusion.component import Component
from threefusion.config import choose
from threefusion.registry import RegistryError, build, config_class, names, register, settings

if TYPE_CHECKING:
    from nowhere import Unknown


@dataclass(frozen=True)
class TermConfig:
    size: int = 2


class Term(Component):
    kind = "loss"

    def __init__(self, cfg: TermConfig, *dependencies: "Unknown") -> None:
        super().__init__()
        self.cfg, self.dependencies = cfg, dependencies


def test_running_code_can_register(plugins):
    register("registry-test-term")(Term)
    assert "registry-test-term" in names("loss")
    built = build(choose("loss", "registry-test-term", size=3), "a", "b")
    assert (built.cfg, built.dependencies) == (TermConfig(3), ("a", "b"))
    assert settings(choose("loss", "registry-test-term")) == TermConfig()


def test_names_known_to_type_checkers_only_do_not_matter():
    assert config_class(Term) is TermConfig


def test_the_same_name_from_another_module_is_refused(plugins):
    register("registry-test-term")(Term)
    twin = type("Twin", (Term,), {"__module__": "elsewhere"})
    with pytest.raises(RegistryError, match=r"registered by both .* and elsewhere"):
        register("registry-test-term")(twin)


def test_a_class_without_kind_is_refused():
    with pytest.raises(RegistryError, match="derives from no component base class"):
        register("x")(type("X", (), {}))
