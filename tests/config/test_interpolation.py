"""Interpolation, overrides that add and remove, entries by name, and text that stays as it is."""

import random
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from threefusion.config import ConfigError, Schedule, config_to_yaml, load_config
from threefusion.exporter.settings import MeshExporterConfig
from threefusion.guidance.settings import FullGradientConfig, SDSConfig

BASE = "extends: base.yaml\n"


def load(text=BASE, *overrides):
    Path("child.yaml").write_text(text, encoding="utf-8")
    return load_config(Path("child.yaml"), list(overrides))


def refusal(text=BASE, *overrides):
    with pytest.raises(ConfigError) as told:
        load(text, *overrides)
    assert "\n" not in str(told.value)
    return str(told.value)


def test_a_field_takes_the_value_of_another(workplace, monkeypatch):
    monkeypatch.setenv("SIDE", "48")
    config = load(
        BASE
        + "camera: {width: 40, height: '${camera.width}'}\nname: ${prompt.text}\nguidance: {t_max: '${guidance.guidance_scale}', "
        "guidance_scale: 0.5}\n"
        "loss: {zoo: {sizes: ['${seed}', 3], rates: {east: '${loss.zoo.ratio}'}, motto: '${oc.env:SIDE}'}}\n",
        "output.image_size=${oc.decode:${oc.env:SIDE}}",
        "camera.distance_range=[1.5,'${loss.zoo.count}']",
        "loss.zoo.weight={knots: {0: '${loss.zoo.ratio}'}}",
    )
    assert (config.camera.height, config.output.image_size, config.name) == (40, 48, "a lion")
    assert config.camera.distance_range == (1.5, 4.0)
    zoo = config.losses["zoo"]
    assert (zoo.sizes, zoo.motto, zoo.weight) == ((0, 3), "48", Schedule.constant(0.5))
    assert zoo.rates == {"north": 1.0, "south": 2.0, "east": 0.5}
    assert config.guidance["guidance"].t_max == Schedule.constant(0.5)


def test_a_component_is_named_by_the_environment(workplace, monkeypatch):
    monkeypatch.setenv("OBJECTIVE", "full-gradient")
    assert load(BASE, "guidance.type=${oc.env:OBJECTIVE}").guidance == {"guidance": FullGradientConfig()}


WRONG = [
    (
        "camera: {width: 40,\n  height: '${camera.widht}'}",
        "3: camera.height: Interpolation key 'camera.widht' not found. Did you mean",
    ),
    ("seed: ${oc.env:NO_SUCH_VARIABLE}", "2: seed: environment variable 'NO_SUCH_VARIABLE' is not set"),
    (
        "seed: ${prompt.text}",
        "2: seed: While dereferencing interpolation '${prompt.text}': Value 'a lion' of type 'str' could not",
    ),
    ("seed: ${seed}", "2: seed: "),
    ("seed: '${'", "2: seed: "),
    ("name: '???'", "2: name: "),
    (
        "optimizer: {schedule: '${prompt.text}'}",
        "2: optimizer.schedule: expected a number or {knots: {step: value, …}}, got 'a lion'",
    ),
    ("output: {image_size: '${seed}'}", "2: output.image_size: expected a value in [1, 4096], got 0"),
]


@pytest.mark.parametrize(("text", "message"), WRONG)
def test_an_interpolation_that_fails_has_its_place(workplace, text, message):
    assert refusal(BASE + text + "\n").startswith(f"child.yaml:{message}")


def test_plus_adds_and_tilde_removes(workplace):
    config = load(BASE, "+loss.sparsity.weight=3", "+loss.zoo.rates.east=3", "~loss.zoo.rates.north", "~geometry.radius")
    assert list(config.losses) == ["zoo", "sparsity"]
    assert config.losses["zoo"].rates == {"south": 2.0, "east": 3.0} and config.geometry.radius == 1.0
    assert list(load(BASE, "~loss.zoo", "+loss.sparsity={}").losses) == ["sparsity"]
    assert list(load(BASE, "loss=null", "+loss.sparsity.weight=1").losses) == ["sparsity"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("+seed=3", "command line: +seed: exists already; write it without +"),
        ("+loss.zoo.count=3", "command line: +loss.zoo.count: exists already (base.yaml:9); write it without +"),
        ("+loss.zoo.ratio=0.3", "command line: +loss.zoo.ratio: exists already; write it without +"),
        ("+loss.zoo={}", "command line: +loss.zoo: exists already (base.yaml:8); write it without +"),
        ("+camera.height=3", "command line: +camera.height: exists already; write it without +"),
        ("+loss.zoo.cuont=3", "command line: loss.zoo.cuont: unknown field of loss 'zoo'. Did you mean 'count'?"),
        ("~loss.zooo", "command line: ~loss.zooo: nothing to remove. Did you mean 'loss.zoo'?"),
        ("~camera.height", "command line: ~camera.height: nothing to remove"),
        ("~exporter", "command line: ~exporter: not for a whole section; write exporter=null or leave it out"),
        ("~loss.zoo=3", "command line: '~loss.zoo=3': expected ~key"),
        ("+loss", "command line: '+loss': expected +key=value, for example seed=3"),
    ],
)
def test_plus_and_tilde_in_the_wrong_place(workplace, override, message):
    assert refusal(BASE, override) == message


def test_objectives_and_exporters_by_name(workplace):
    config = load(BASE + "guidance:\n  coarse: {type: sds, weight: 2, guidance_scale: 7}\n  full-gradient: {}\n")
    assert list(config.guidance) == ["coarse", "full-gradient"]
    assert config.guidance["coarse"] == SDSConfig(weight=Schedule.constant(2), guidance_scale=Schedule.constant(7))
    config = load(BASE + "exporter: {small: {type: mesh, resolution: 32}, mesh: {}}\n", "exporter.small.smoothing=1")
    assert config.exporters == {"small": MeshExporterConfig(resolution=32, smoothing=1), "mesh": MeshExporterConfig()}
    more = load(BASE, "guidance.guidance_scale=3", "+guidance.second.type=full-gradient")
    assert list(more.guidance) == ["guidance", "second"]
    for made in (config, more):
        Path("config.yaml").write_text(config_to_yaml(made), encoding="utf-8")
        assert load_config(Path("config.yaml"), []) == made


def test_the_two_forms_do_not_mix(workplace):
    assert refusal(BASE + "guidance:\n  a: {type: sds}\n  t_min: 0.1\n") == (
        "child.yaml:4: guidance.t_min: a field of one guidance beside entries by name"
    )
    assert refusal(BASE + "guidance: {a: {type: sds}, b: {type: sds}}\n", "guidance.guidance_scale=7") == (
        "command line: guidance: this run names several: a, b. Write guidance.a"
    )
    assert refusal(BASE + "guidance: {a: {type: sdss}}\n").startswith(
        "child.yaml:2: guidance.a.type: unknown guidance type 'sdss'. Did you mean 'sds'?"
    )
    assert refusal(BASE, "guidance.guidnce_scale=7").startswith(
        "command line: guidance.guidnce_scale: unknown field of guidance 'sds'"
    )


def test_a_renderer_or_exporter_that_the_geometry_does_not_fit_is_refused(workplace):
    assert refusal(BASE + "geometry: {type: image}\n") == (
        "child.yaml:2: renderer: the renderer 'volume' needs a geometry that gives density, and 'image' gives canvas. "
        "Use the renderer image, or the geometry density-field, tri-plane or voxel-grid"
    )
    assert refusal(BASE + "geometry: image\n", "renderer=image").startswith("child.yaml:2: exporter: the exporter 'mesh' needs")
    assert refusal(BASE, "renderer=image").startswith(
        "command line: renderer: the renderer 'image' needs a geometry that gives canvas"
    )
    assert load(BASE, "renderer=image", "geometry=image", "exporter=null").exporters == {}


def texts(count, seed=0):
    """Random texts, rich in what YAML and OmegaConf give a meaning."""
    draw = random.Random(seed)
    special = [
        "${",
        "}",
        "\\",
        "$",
        "???",
        "'",
        '"',
        ":",
        ": ",
        " #",
        "#",
        "- ",
        "{",
        "[",
        "]",
        "!",
        "&a",
        "*a",
        "%",
        "@",
        "`",
        "|",
        ">",
    ]
    special += [
        "\n",
        "\t",
        "é",
        "猫",
        "null",
        "true",
        "1e3",
        "017",
        "=",
        "~",
        "+",
        ",",
        "oc.env:HOME",
        "camera.width",
        " ",
        "a",
        "lion",
    ]
    return ["".join(draw.choices(special, k=draw.randint(1, 8))) for _ in range(count)]


def test_any_prompt_arrives_as_written_and_survives(workplace):
    for text in texts(40):
        if not text.strip():
            continue
        config = load(BASE, f"prompt.text={text}", f"prompt.negative={text}")
        assert config.text == config.prompt.negative == text
        Path("config.yaml").write_text(config_to_yaml(config), encoding="utf-8")
        assert load_config(Path("config.yaml"), ["name=child"]) == config, text
        assert OmegaConf.load("config.yaml").prompt.text == text


def test_other_programs_read_the_resolved_config(workplace):
    config = load(BASE + "name: ${prompt.text}\n", "prompt.text=${x} 1e3", "loss.zoo.motto=yes")
    Path("config.yaml").write_text(config_to_yaml(config), encoding="utf-8")
    read = OmegaConf.load("config.yaml")
    assert (read.prompt.text, read.name, read.loss.zoo.motto) == ("${x} 1e3", "${x} 1e3", "yes")
    assert OmegaConf.to_container(read, resolve=True)["camera"]["batch_size"] == config.camera.batch_size
