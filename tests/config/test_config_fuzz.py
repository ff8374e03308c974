"""Whatever a config or an override holds, only errors in one line come out; what loads can be saved and loaded again."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from threefusion.config import ConfigError, config_to_yaml, load_config

pytestmark = pytest.mark.usefixtures("shared_workplace")

WORDS = """prompt camera geometry material background renderer optimizer logger guidance exporter loss trainer output ops facing
stages seed name plugins extends type text encoding prior sampler zoo sds mesh image sparsity weight knots steps first groups
t_min rates span names sizes animal mode map model max_steps devices betas formats frequency escaped
houses plan rooms null true 0 1 -1""".split()
MARKS = [*"}:#'\"[]{!|>\n\t%@~+=,.é\x85\0\\", "${", "${camera.width}", "${oc.env:HOME}", "???", ": ", "- ", "&a ", "*a", "\n  "]
MARKS += ["!!python/name:os.system ", "<<: ", "..", "---"]

numbers = st.floats().map(repr) | st.integers().map(str)
pieces = st.one_of(st.sampled_from(WORDS), st.sampled_from(MARKS), st.text(max_size=3), numbers)
scraps = st.lists(pieces, max_size=12).map("".join)
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), scraps, st.sampled_from(["../x", "~/x", "1e3", "017", "sds", "auto"])
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=3), max_leaves=6
)
configs = st.dictionaries(st.sampled_from(WORDS), values, min_size=1, max_size=4)
KEYS = """seed name trainer.max_steps camera.width geometry.encoding geometry.encoding.type geometry.encoding.levels loss.zoo
loss.zoo.rates loss.zoo.rates.north loss.zoo.span loss.zoo.weight loss.zoo.mode loss.zoo.prior loss.zoo.map loss.second.type
loss.zoo.houses loss.zoo.maps
guidance guidance.type guidance.first.type guidance.prior guidance.t_min exporter exporter.small.type optimizer.groups.geometry
prompt prompt.text logger.tags stages stages.0.steps stages.fine.camera.width plugins extends facing.steps type""".split()
overrides = st.builds(
    "{}{}{}{}".format,
    st.sampled_from(["", "", "", "", "+", "~"]),
    st.sampled_from(KEYS) | st.lists(st.sampled_from(WORDS), min_size=1, max_size=4).map(".".join) | scraps,
    st.sampled_from(["=", "=", "=", ""]),
    values.map(lambda value: yaml.safe_dump(value, default_flow_style=True).removesuffix("...\n").strip()) | scraps,
)


def check(content: bytes, words: list[str]) -> None:
    """Load a config, and once more what it is saved as."""
    Path("child.yaml").write_bytes(content)
    try:
        config = load_config(Path("child.yaml"), words)
    except ConfigError as error:
        assert all("\n" not in str(each) and str(each.place) for each in error.all) and error.all[0] is error
        return
    Path("config.yaml").write_text(config_to_yaml(config), encoding="utf-8")
    assert load_config(Path("config.yaml"), []) == config


@given(st.binary(max_size=60) | scraps.map(lambda text: text.encode(errors="surrogatepass")))
def test_any_bytes(content):
    check(b"extends: base.yaml\n" + content, [])
    check(content, [])


@given(configs)
def test_any_values_under_any_keys(tree):
    check(yaml.safe_dump({"extends": "base.yaml", **tree}, allow_unicode=True).encode(), [])


@given(st.lists(overrides, min_size=1, max_size=4), st.booleans())
def test_any_overrides(words, in_stages):
    stages = b"stages: [{steps: 2}, {name: fine, steps: 3, camera: {width: 8}}]\n"
    check(b"extends: base.yaml\n" + stages * in_stages, words)
