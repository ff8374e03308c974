"""Plugins in a folder: found, named when broken, refused when they take a name that is taken."""

import sys

import pytest
from plugin_source import plugin

from threefusion import discovery
from threefusion.cli.describe import describe, problems
from threefusion.config import choose
from threefusion.registry import RegistryError, build, config_type, lookup, names, settings


def test_one_file(plugins):
    (plugins / "level_file.py").write_text(plugin("level"))
    assert "level" in names("loss")
    assert config_type("loss", "level")().level == 0.25
    assert "level_file" not in sys.modules
    assert build(choose("loss", "level", level=0.5)).cfg.level == 0.5
    assert "level_file" in sys.modules
    assert settings(choose("loss", "level")).level == 0.25


def test_package_with_relative_imports(plugins):
    folder = plugins / "level_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("from .term import Level\n")
    (folder / "numbers.py").write_text("START = 0.125\n")
    (folder / "term.py").write_text(
        plugin("level", imports="from .numbers import START").replace("level: float = 0.25", "level: float = START")
    )
    assert config_type("loss", "level")().level == 0.125
    assert lookup("loss", "level").__module__ == "level_package.term"


def test_folder_without_init(plugins):
    folder = plugins / "level_folder"
    (folder / "tests").mkdir(parents=True)
    (folder / "tests" / "test_it.py").write_text(plugin("not-a-component"))
    (folder / "term.py").write_text(plugin("level"))
    assert lookup("loss", "level").__module__ == "level_folder.term"
    assert "not-a-component" not in names("loss")


@pytest.mark.parametrize("root", ["", "src"])
def test_pip_project(plugins, root):
    folder = plugins / "project"
    package = folder / root / "level_project"
    package.mkdir(parents=True)
    (folder / "pyproject.toml").write_text("[project]\nname = 'level-project'\n")
    (package / "__init__.py").write_text(plugin("level"))
    assert lookup("loss", "level").__module__ == "level_project"


def test_component_of_another_plugins_class(plugins):
    (plugins / "first.py").write_text(plugin("level"))
    (plugins / "second.py").write_text(
        "import first\nfrom threefusion.registry import register\n\n"
        "@register('level-twin')\nclass Twin(first.Level):\n    '''The same again.'''\n"
    )
    assert describe("loss", "level-twin")["fields"][-1]["name"] == "level"
    assert issubclass(lookup("loss", "level-twin"), lookup("loss", "level"))


BROKEN = {
    "syntax": ("def broken(:\n@register('x')\n", "bad.py:1: invalid syntax"),
    "missing package": (
        plugin("x", imports="import no_such_package"),
        "plugins/bad.py imports 'no_such_package', which is not installed",
    ),
    "no base class": (
        "from threefusion.registry import register\n@register('x')\nclass X: ...\n",
        "X derives from no component base class",
    ),
    "name from a variable": (plugin("x").replace('"x"', "NAME"), "@register needs its name as a string literal"),
}


@pytest.mark.parametrize(("text", "reason"), BROKEN.values(), ids=list(BROKEN))
def test_broken_plugin_is_named_wherever_a_component_is_missing(plugins, text, reason):
    (plugins / "bad.py").write_text(text)
    (plugins / "good.py").write_text(plugin("level"))
    assert lookup("loss", "level")
    with pytest.raises(RegistryError) as told:
        lookup("loss", "x")
    assert "no loss is called 'x'" in str(told.value) and "plugin plugins/bad.py" in str(told.value) and reason in str(told.value)
    assert any(reason in problem for problem in problems())


UNSOUND = {
    "not frozen": ("(frozen=True)", "", "LevelConfig has to be a dataclass with frozen=True"),
    "unknown type": ("level: float", "level: Floot", "LevelConfig: a field's type cannot be told: name 'Floot' is not defined"),
    "field called type": ("level: float", "type: float", "LevelConfig: no field can be called 'type'"),
    "no constructor": (
        "cfg: LevelConfig",
        "settings",
        "the constructor of Level needs `cfg: SomeFrozenDataclass`",
    ),
}


@pytest.mark.parametrize(("old", "new", "reason"), UNSOUND.values(), ids=list(UNSOUND))
def test_config_class_that_cannot_be_used(plugins, old, new, reason):
    (plugins / "unsound.py").write_text(
        plugin("level").replace(old, new).replace("LossConfig)", "Base)").replace("@dataclass", "class Base: ...\n@dataclass", 1)
    )
    with pytest.raises(RegistryError) as told:
        config_type("loss", "level")
    assert reason in str(told.value)


def test_import_that_fails_only_when_run(plugins):
    (plugins / "late.py").write_text(plugin("level") + "\nraise RuntimeError('no such chip')\n")
    assert config_type("loss", "level")().level == 0.25
    with pytest.raises(RegistryError, match=r"plugin plugins/late.py could not be imported: RuntimeError: no such chip"):
        lookup("loss", "level")


def test_name_taken_from_the_package(plugins):
    (plugins / "thief.py").write_text(plugin("sparsity"))
    with pytest.raises(
        RegistryError, match=r"'sparsity' is declared twice: .*threefusion/loss/sparsity.py:\d+ and plugins/thief.py:\d+"
    ):
        lookup_fresh("loss", "sparsity")
    assert config_type("loss", "orientation")


def lookup_fresh(kind, name):
    """The declaration, whatever running code has registered before."""
    return discovery.find_declaration(kind, name)


def test_name_taken_from_another_plugin(plugins):
    (plugins / "one.py").write_text(plugin("level"))
    (plugins / "two.py").write_text(plugin("level"))
    with pytest.raises(RegistryError, match=r"declared twice: plugins/one.py:\d+ and plugins/two.py:\d+"):
        lookup("loss", "level")
    assert any("plugins/two.py" in problem for problem in problems())


def test_module_name_that_is_taken(plugins):
    (plugins / "json.py").write_text(plugin("level"))
    assert any("'json' is already taken by" in problem for problem in problems())


def test_name_that_is_no_module(plugins):
    (plugins / "my-plugin.py").write_text(plugin("level"))
    assert any("'my-plugin' is no module name" in problem for problem in problems())
