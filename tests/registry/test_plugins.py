"""Plugins in a folder: found, imported only when needed, named when broken, refused when they take a name that is taken."""

import sys
from pathlib import Path

import pytest
from plugin_source import plugin

from threefusion.cli.describe import describe, problems
from threefusion.config import ConfigError, load_config
from threefusion.config.catalogue import Catalogue, plugin_folders, settings_class
from threefusion.registry import RegistryError, build, entry_of


def loaded(kind, name):
    """The component class."""
    return entry_of(settings_class(kind, name)).load()


def names(kind):
    """The names that a config in the current directory can use."""
    return Catalogue(plugin_folders()).names(kind)


def test_one_file(plugins):
    (plugins / "level_file.py").write_text(plugin("level"))
    assert settings_class("loss", "sparsity")
    assert "level_file" not in sys.modules
    assert settings_class("loss", "level")().level == 0.25
    assert "level_file" in sys.modules and "level" in names("loss")
    assert build(settings_class("loss", "level")(level=0.5)).cfg.level == 0.5


def test_package_with_relative_imports(plugins):
    folder = plugins / "level_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("from .term import Level\n")
    (folder / "numbers.py").write_text("START = 0.125\n")
    (folder / "term.py").write_text(
        plugin("level", imports="from .numbers import START").replace("level: float = 0.25", "level: float = START")
    )
    assert settings_class("loss", "level")().level == 0.125
    assert loaded("loss", "level").__module__ == "level_package.term"


LIGHT = """
from dataclasses import dataclass
from threefusion.loss.settings import LossConfig
from threefusion.registry import component

@component("loss", "level", "level_light.term:Level")
@dataclass(frozen=True)
class LevelConfig(LossConfig):
    '''Settings.'''
"""


def test_settings_apart_from_the_component_are_checked_without_it(plugins):
    folder = plugins / "level_light"
    folder.mkdir()
    (folder / "settings.py").write_text(LIGHT)
    (folder / "term.py").write_text("class Level:\n    '''A level.'''\n    def __init__(self, cfg): self.cfg = cfg\n")
    assert settings_class("loss", "level")().weight(0) == 1
    assert describe("loss", "level")["summary"] == "A level."
    assert "level_light.term" not in sys.modules
    assert loaded("loss", "level").__module__ == "level_light.term"


def test_folder_without_init(plugins):
    folder = plugins / "level_folder"
    (folder / "tests").mkdir(parents=True)
    (folder / "tests" / "test_it.py").write_text(plugin("not-a-component"))
    (folder / "term.py").write_text(plugin("level"))
    assert loaded("loss", "level").__module__ == "level_folder.term"
    assert "not-a-component" not in names("loss")


@pytest.mark.parametrize("root", ["", "src"])
def test_pip_project(plugins, root):
    folder = plugins / "project"
    package = folder / root / "level_project"
    package.mkdir(parents=True)
    (folder / "pyproject.toml").write_text("[project]\nname = 'level-project'\n")
    (package / "__init__.py").write_text(plugin("level"))
    assert loaded("loss", "level").__module__ == "level_project"


def test_component_of_another_plugins_class(plugins):
    (plugins / "first.py").write_text(plugin("level"))
    (plugins / "second.py").write_text(
        "from dataclasses import dataclass\nimport first\nfrom threefusion.registry import register\n\n"
        "@dataclass(frozen=True)\nclass TwinConfig(first.LevelConfig):\n    '''Settings.'''\n\n"
        "@register('level-twin')\nclass Twin(first.Level):\n    '''The same again.'''\n"
        "    def __init__(self, cfg: TwinConfig): super().__init__(cfg)\n"
    )
    assert describe("loss", "level-twin")["fields"][-1]["name"] == "level"
    assert issubclass(loaded("loss", "level-twin"), loaded("loss", "level"))


UNFROZEN = plugin("x").replace("@dataclass(frozen=True)\n", "").replace("LossConfig)", "Base)")
UNFROZEN = UNFROZEN.replace("class LevelConfig", "class Base: ...\nclass LevelConfig", 1)
FOREIGN = plugin("x").replace("class LevelConfig(LossConfig)", "class LevelConfig")
BROKEN = {
    "syntax": ("def broken(:\n@register('x')\n", "bad.py:1: invalid syntax"),
    "missing package": (
        plugin("x", imports="import no_such_package"),
        "plugins/bad.py imports 'no_such_package', which is not installed",
    ),
    "no base class": (
        "from threefusion.registry import register\n@register('x')\nclass X: ...\n",
        "X has no component base class",
    ),
    "exits at import": (plugin("x") + "\nimport sys\nsys.exit('no licence')\n", "SystemExit: no licence"),
    "fails at import": (plugin("x") + "\nraise RuntimeError('no such chip')\n", "RuntimeError: no such chip"),
    "fails at import with no Exception": (plugin("x") + "\nraise GeneratorExit('gone')\n", "GeneratorExit: gone"),
    "unreadable": (plugin("x") + "\nopen('/nowhere/x')\n", "FileNotFoundError: [Errno 2] No such file or directory"),
    "no settings": (FOREIGN, "LevelConfig must derive from threefusion.Settings"),
    "not frozen": (UNFROZEN, "LevelConfig must be a dataclass with frozen=True"),
    "unknown type": (
        plugin("x").replace("level: float", "level: Floot"),
        "LevelConfig: the type of a field cannot be resolved: name 'Floot' is not defined",
    ),
    "field called type": (plugin("x").replace("level: float", "type: float"), "LevelConfig: no field can be called 'type'"),
    "no constructor": (
        plugin("x").replace("cfg: LevelConfig", "settings"),
        "the constructor of Level needs `cfg: SomeFrozenDataclass`",
    ),
}


@pytest.mark.parametrize(("text", "reason"), BROKEN.values(), ids=list(BROKEN))
def test_broken_plugin_is_named_wherever_a_component_is_missing(plugins, text, reason):
    (plugins / "bad.py").write_text(text)
    (plugins / "good.py").write_text(plugin("level"))
    assert loaded("loss", "level")
    with pytest.raises(RegistryError) as told:
        settings_class("loss", "x")
    assert "unknown loss type 'x'" in str(told.value) and "plugin plugins/bad.py" in str(told.value) and reason in str(told.value)
    assert any(reason in problem for problem in problems())


def test_a_name_from_a_variable_is_found(plugins):
    (plugins / "variable.py").write_text(plugin("x").replace('@register("x")', "NAME = 'y'\n@register(NAME)"))
    assert settings_class("loss", "y")().level == 0.25


def test_name_taken_from_the_package(plugins):
    (plugins / "thief.py").write_text(plugin("sparsity"))
    with pytest.raises(
        RegistryError, match=r"loss 'sparsity' is registered twice: in .*threefusion/loss/settings.py and plugins/thief.py"
    ):
        settings_class("loss", "sparsity")
    assert settings_class("loss", "orientation")
    assert any("'sparsity' is registered twice" in problem for problem in problems())


def test_name_taken_from_another_plugin(plugins):
    (plugins / "one.py").write_text(plugin("level"))
    (plugins / "two.py").write_text(plugin("level"))
    with pytest.raises(RegistryError, match=r"registered twice: in plugins/one.py and plugins/two.py"):
        settings_class("loss", "level")


def test_module_name_that_is_taken(plugins):
    (plugins / "json.py").write_text(plugin("level"))
    assert any("'json' is already taken by" in problem for problem in problems())


def test_name_that_is_no_module(plugins):
    (plugins / "my-plugin.py").write_text(plugin("level"))
    assert any("'my-plugin' is not a module name" in problem for problem in problems())


def test_what_a_config_can_name_does_not_depend_on_configs_loaded_before(plugins, tmp_path):
    Path("mine").mkdir()
    Path("mine/level_mine.py").write_text(plugin("level"))
    Path("with.yaml").write_text("prompt: {text: a cat}\nplugins: [mine]\nloss: {level: {}}\n")
    Path("without.yaml").write_text("prompt: {text: a cat}\nloss: {level: {}}\n")
    assert load_config(Path("with.yaml"), []).plugins == (str(tmp_path / "mine"),)
    with pytest.raises(ConfigError, match=r"without.yaml:2: loss.level: unknown loss type 'level'"):
        load_config(Path("without.yaml"), [])
    assert load_config(Path("with.yaml"), []).losses["level"].level == 0.25
