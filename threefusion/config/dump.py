"""A run as YAML again. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import yaml

from threefusion.config.document import ESCAPED_KEY, FLOAT
from threefusion.config.fields import Settings
from threefusion.config.run import NAMED, RunConfig
from threefusion.config.stages import LAID_OVER
from threefusion.config.values import escaped, plain

FOLDED = frozenset("\x85\u2028\u2029")
"""Line breaks beside those of ASCII, which PyYAML reads back as spaces from anything but a double-quoted string."""


class _Dumper(yaml.SafeDumper):
    """Quotes text that other readers would take for a number, or whose line breaks YAML would fold."""

    def text(self, value: str) -> yaml.ScalarNode:
        """The node of a string."""
        return self.represent_scalar("tag:yaml.org,2002:str", value, '"' if FOLDED.intersection(value) else None)


_Dumper.add_representer(str, _Dumper.text)
_Dumper.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, list("-+0123456789."))


def as_tree(config: RunConfig) -> dict[str, Any]:
    """The config as plain values in the layout of a file, every default written out."""
    tree = plain(replace(config, stages=()))
    tree = {key: tree[key] for key in ("name", "seed")} | tree
    del tree["stages"], tree["plugins"]
    tree |= {key: tree[key].get(key, tree[key]) if len(tree[key]) == 1 else tree[key] or None for key in NAMED}
    if config.stages:
        del tree["trainer"]["max_steps"]
        tree["stages"] = [_stage(config, stage) for stage in config.stages]
    return tree


def config_to_yaml(config: RunConfig) -> str:
    """The config as YAML that loads to an equal config, every default written out; `OmegaConf.load` reads it too."""
    tree = escaped(as_tree(config)) | ({"plugins": list(config.plugins)} if config.plugins else {})
    text = yaml.dump(tree, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=130, default_flow_style=None)
    return f"{ESCAPED_KEY}: true\n{text}" if "\\${" in text or "???" in text else text


def _stage(config: RunConfig, stage: RunConfig) -> dict[str, Any]:
    """What a stage sets otherwise than its run."""
    tree: dict[str, Any] = {"name": stage.name, "steps": stage.trainer.max_steps}
    for key in LAID_OVER:
        field = "losses" if key == "loss" else key
        before, after = getattr(config, field), getattr(stage, field)
        if before != after:
            changes = _changes(before, after)
            is_short = key == "guidance" and list(before) == list(after) == [key]
            tree[key] = changes[key] if is_short else changes
    return tree


def _changes(before: Any, after: Any) -> Any:
    """What is to be laid over `before` so that it becomes `after`; null drops an entry."""
    if isinstance(after, Settings) and type(before) is type(after):
        before, after = ({field.name: getattr(settings, field.name) for field in fields(after)} for settings in (before, after))
    if not isinstance(before, dict) or not isinstance(after, dict):
        return plain(after)
    new = {key: _changes(before.get(key), value) for key, value in after.items() if before.get(key) != value}
    return new | {key: None for key in before if key not in after}


def changes(before: str, now: str) -> list[str]:
    """The settings that differ between two configs in YAML, each with both values."""
    old, new = (dict(_leaves(yaml.safe_load(text), "")) for text in (before, now))
    keys = [key for key in {**old, **new} if old.get(key) != new.get(key)]
    return [f"{key} was {old.get(key, 'missing')}, now {new.get(key, 'missing')}" for key in keys]


def _leaves(tree: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every value of a config with its dotted path, `type` first."""
    if not isinstance(tree, dict):
        yield path, tree
        return
    for key, value in tree.items():
        yield from _leaves(value, f"{path}.{key}" if path else str(key))
