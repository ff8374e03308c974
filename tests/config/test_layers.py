"""What a child, its parents and overrides make together."""

from pathlib import Path

import pytest

from threefusion.config import ConfigError, Schedule, load_config
from threefusion.config.sections import CsvConfig
from threefusion.exporter.settings import MeshExporterConfig
from threefusion.geometry.encoding.settings import FrequencyConfig, HashGridConfig
from threefusion.guidance.settings import SDSConfig


def load(text="extends: base.yaml\n", *overrides):
    Path("child.yaml").write_text(text, encoding="utf-8")
    return load_config(Path("child.yaml"), list(overrides))


def zoo(text="extends: base.yaml\n", *overrides):
    return load(text, *overrides).losses["zoo"]


def test_child_adds_to_its_parent(workplace):
    config = load("extends: base.yaml\ngeometry: {encoding: {levels: 5}}\nseed: 7\n")
    geometry = config.geometry
    assert (config.seed, config.name, geometry.radius) == (7, "child", 2.0)
    assert geometry.encoding == HashGridConfig(levels=5)


def test_another_type_discards_the_settings_of_the_old_one(workplace):
    config = load("extends: base.yaml\ngeometry: {encoding: {type: frequency}}\n")
    assert config.geometry.radius == 2.0
    assert config.geometry.encoding == FrequencyConfig()


def test_the_same_type_keeps_the_settings(workplace):
    config = load("extends: base.yaml\ngeometry: {type: density-field, encoding: {type: hash-grid}}\n")
    assert config.geometry.radius == 2.0
    assert config.geometry.encoding.levels == 4


def test_type_by_override_discards_too_wherever_it_stands(workplace):
    for order in ([0, 1], [1, 0]):
        words = ["geometry.encoding.type=frequency", "geometry.encoding.frequencies=3"]
        config = load("extends: base.yaml\n", *(words[place] for place in order))
        assert config.geometry.encoding.frequencies == 3


def test_name_alone_is_a_component(workplace):
    assert load("extends: base.yaml\ngeometry: {encoding: frequency}\n").geometry.encoding == FrequencyConfig()
    config = load("extends: base.yaml\n", "geometry.encoding.frequencies=3", "geometry.encoding=frequency")
    assert config.geometry.encoding.frequencies == 3
    config = load("extends: base.yaml\n", "geometry={type: density-field, radius: 3}", "geometry.bias=1")
    assert (config.geometry.radius, config.geometry.bias) == (3.0, 1.0)


def test_later_override_wins(workplace):
    assert load("extends: base.yaml\n", "seed=1", "seed=2").seed == 2


def test_several_parents_the_last_one_wins(workplace):
    Path("left.yaml").write_text("extends: base.yaml\nseed: 1\nname: left\n", encoding="utf-8")
    Path("sub").mkdir()
    Path("sub/right.yaml").write_text("extends: ../left.yaml\nseed: 2\n", encoding="utf-8")
    config = load("extends: [left.yaml, sub/right.yaml]\n")
    assert (config.seed, config.name) == (2, "left")


def test_dictionaries_add_up_and_null_removes(workplace):
    child = "extends: base.yaml\nloss: {zoo: {rates: {south: null, west: 4}}}\n"
    assert zoo(child).rates == {"north": 1.0, "west": 4.0}
    assert zoo(child, "loss.zoo.rates.far.west=0.5").rates == {"north": 1.0, "west": 4.0, "far.west": 0.5}


def test_schedules_and_lists_replace(workplace):
    assert zoo().weight == Schedule(((0, 1.0), (100, 2.0)))
    assert zoo("extends: base.yaml\nloss: {zoo: {weight: {knots: {5: 3}}}}\n").weight == Schedule(((5, 3.0),))
    assert zoo("extends: base.yaml\nloss: {zoo: {weight: 2}}\n").weight == Schedule.constant(2)


def test_losses_keep_their_order_can_go_and_can_have_names_of_their_own(workplace):
    child = "extends: base.yaml\nloss: {second: {type: zoo, count: 1}, sparsity: {}}\n"
    assert list(load(child).losses) == ["zoo", "second", "sparsity"]
    assert load(child).losses["second"].count == 1
    assert list(load(child, "loss.zoo=null").losses) == ["second", "sparsity"]
    assert load("extends: base.yaml\nloss: null\n").losses == {}


@pytest.mark.parametrize(
    "text", ["a cat: the movie", "123", "${x}", "1e3", "true", "[a, b]", "a #1 cat", "a = b", "null", " two  spaces ", "'q'"]
)
def test_text_on_the_command_line_arrives_as_written(workplace, text):
    config = load("extends: base.yaml\n", f"prompt.text={text}", f"loss.zoo.title={text}")
    assert config.prompt.text == text
    assert zoo("extends: base.yaml\n", f"loss.zoo.title={text}").title == text


@pytest.mark.parametrize(
    ("written", "value"),
    [("123", "123"), ("1e3", "1e3"), ("true", "true"), ("'null'", "null"), ("2020-01-02", "2020-01-02")],
)
def test_text_in_yaml_arrives_as_written(workplace, written, value):
    found = zoo(f"extends: base.yaml\nloss:\n  zoo:\n    title: {written}\n    motto: {written}\n")
    assert found.title == found.motto == value


@pytest.mark.parametrize(
    ("field", "written", "value"),
    [
        ("ratio", "1e-3", 0.001),
        ("ratio", "3", 3.0),
        ("count", "1e1", 10),
        ("limit", "null", None),
        ("limit", "3", 3),
        ("motto", "null", None),
        ("mode", "false", False),
        ("mode", "auto", "auto"),
        ("span", "[1, 2e0]", (1.0, 2.0)),
        ("sizes", "[]", ()),
        ("sizes", "[3]", (3,)),
        ("names", "[a: b, 3]", None),
        ("names", "[a, '3', 4]", ["a", "3", "4"]),
        ("amount", "3", Schedule.constant(3)),
        ("amount", "{knots: {3: 4}}", Schedule(((3, 4.0),))),
        ("map", "base.yaml", Path("base.yaml")),
    ],
)
def test_values_have_the_type_of_their_field(workplace, field, written, value):
    child = f"extends: base.yaml\nloss: {{zoo: {{{field}: {written}}}}}\n"
    if field == "names" and value is None:
        with pytest.raises(ConfigError, match=r"loss.zoo.names\[0\]: expected text, got a mapping"):
            zoo(child)
        return
    found = getattr(zoo(child), field)
    assert found == value and type(found) is type(value)
    assert getattr(zoo("extends: base.yaml\n", f"loss.zoo.{field}={written}"), field) == value


def test_parent_shipped_with_the_package(workplace, monkeypatch):
    monkeypatch.setattr("threefusion.config.document.SHIPPED", workplace / "package")
    Path("package/base").mkdir(parents=True)
    Path("package/base/shipped.yaml").write_text("extends: ../../base.yaml\nseed: 9\n", encoding="utf-8")
    assert load("extends: base/shipped.yaml\n").seed == 9


def test_every_part_has_a_default(workplace):
    config = load("prompt: {text: a cat}\n")
    assert config.guidance == {"guidance": SDSConfig()}
    assert config.exporters == {"exporter": MeshExporterConfig()} and config.logger == CsvConfig()
    assert load("prompt: {text: a cat}\nexporter: null\n").exporters == {}


def test_frozen(workplace):
    with pytest.raises(AttributeError):
        load().seed = 3


def test_overrides_of_a_part_and_of_what_is_in_it_hold_both_in_either_order(workplace):
    words = ["geometry.bias=1", "geometry={radius: 3, encoding: {levels: 5}}"]
    for order in (words, words[::-1]):
        geometry = load("extends: base.yaml\n", *order).geometry
        assert (geometry.radius, geometry.bias, geometry.encoding.levels) == (3.0, 1.0, 5)
    assert load("extends: base.yaml\n", "geometry.radius=2", "geometry={radius: 3}").geometry.radius == 3.0


def test_null_takes_the_place_of_what_was_said_before_and_nothing_can_be_said_of_it_after(workplace):
    assert not load("extends: base.yaml\n", "loss.zoo.weight=1", "loss.zoo=null").losses
    assert not load("extends: base.yaml\n", "loss.zoo.weight=1", "loss=null").losses
    with pytest.raises(ConfigError, match=r"loss=null: given together with loss\.zoo\.weight, which is a part of it"):
        load("extends: base.yaml\n", "loss=null", "loss.zoo.weight=1")


def test_clipping_under_mixed_precision_is_refused_before_anything_is_loaded(workplace):
    for precision in ("bf16-mixed", "16-mixed", "16", "bf16"):
        with pytest.raises(ConfigError, match=rf"trainer\.gradient_clip_val: not under precision '?{precision}'?:"):
            load("extends: base.yaml\n", "trainer.gradient_clip_val=1.0", f"trainer.precision={precision}")
    assert load("extends: base.yaml\n", "trainer.gradient_clip_val=1.0", "trainer.precision=32-true").trainer
