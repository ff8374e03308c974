"""Overrides of the command line as layers over those of the files; where a key was written. Loads no torch."""

from __future__ import annotations

from collections.abc import Iterator

from threefusion.config.document import COMMAND_LINE, DEEPEST, NULLS, OVERRIDE, Entries, Layers, Node, Override, Place
from threefusion.errors import ConfigError, collected, did_you_mean


def apply_overrides(words: list[str], layers: list[Entries], errors: list[ConfigError]) -> list[tuple[str, ...]]:
    """Lay `key=value`, `+key=value` (a new entry) and `~key` (drop what was written) over the layers; the keys that were added.

    Errors are collected: a malformed word; `~` where nothing was written, `+` where something was; a part of what is null.
    """
    added: list[tuple[str, ...]] = []
    nulls: list[tuple[str, ...]] = []
    for word in words:
        with collected(errors):
            _apply(word, layers, added, nulls)
    return added


def _apply(word: str, layers: list[Entries], added: list[tuple[str, ...]], nulls: list[tuple[str, ...]]) -> None:
    where, mode = Place(COMMAND_LINE), word[:1] if word.startswith(("+", "~")) else ""
    key, equals, text = word.removeprefix(mode).partition("=")
    keys = tuple(key.split("."))
    if bool(equals) == (mode == "~") or not all(keys):
        raise ConfigError(f"{word!r}: expected {'~key' if mode == '~' else f'{mode}key=value, for example seed=3'}", where)
    if len(keys) > DEEPEST:
        raise ConfigError(f"'{word[:60]}…': nested more than {DEEPEST} levels deep", where)
    if mode == "~":
        return _drop(key, layers)
    written = [node for layer in layers for node in find(layer, keys)]
    if mode == "+" and written and written[-1].value is not None:
        raise ConfigError(f"+{key}: exists already ({written[-1].place}); write it without +", where)
    for null in nulls:
        if keys[: len(null)] == null and keys != null and mode != "+":
            raise ConfigError(f"{'.'.join(null)}=null: given together with {key}, which is a part of it", where)
    at = Place(COMMAND_LINE, of_stage=keys[0] == "stages")
    node: Node = Override(".".join(keys[2:] or keys if at.of_stage else keys), text, at)
    nulls += [keys] if text in NULLS else []
    added += [keys] if mode == "+" else []
    for part in reversed(keys[1:]):
        node = Node({part: node}, at)
    layers.append({keys[0]: node})


def _drop(key: str, layers: list[Entries]) -> None:
    where = Place(COMMAND_LINE)
    if "." not in key:
        raise ConfigError(f"~{key}: not for a whole section; write {key}=null or leave it out", where)
    if key.startswith("stages."):
        raise ConfigError(f"~{key}: nothing can be removed from a stage; write {key}=… to change it, or stages=[…] anew", where)
    written = [found for layer in layers for found in walk(layer)]
    if key not in (known := [dotted for dotted, _, _ in written]):
        raise ConfigError(f"~{key}: nothing to remove{did_you_mean(key, known)}", where)
    for entries, name in [found[1:] for found in written if found[0] == key]:
        del entries[name]


def find(entries: Entries, keys: tuple[str, ...]) -> list[Node]:
    """What is written under a dotted key, whose parts may themselves be written with dots."""
    return [inner[name] for dotted, inner, name in walk(entries) if dotted == ".".join(keys)]


def walk(entries: Entries, above: str = "") -> Iterator[tuple[str, Entries, str]]:
    """All entries, also those of inner mappings: dotted key, the mapping that holds it, its key there."""
    for name, node in entries.items():
        yield f"{above}{name}", entries, name
        yield from walk(node.value, f"{above}{name}.") if node.kind != OVERRIDE and isinstance(node.value, dict) else ()


def added_up(layers: Layers) -> Node:
    """The entries of all mappings; dotted overrides such as `optimizer.groups.geometry.encoding=…` name one entry each."""
    merged: Entries = {}
    for node in layers:
        if not isinstance(node.value, dict):
            return node
        for dotted, entries, name in walk(node.value):
            if not isinstance(entries[name].value, dict):
                merged.pop(dotted, None)
                merged |= {dotted: entries[name]} if entries[name].value is not None else {}
    return Node(merged, layers[-1].place)
