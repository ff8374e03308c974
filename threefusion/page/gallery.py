"""The page of many runs. Loads no torch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from threefusion.page.facts import RunFacts
from threefusion.page.markup import Html, data_block, document, element, joined, picture_uri
from threefusion.page.run import when
from threefusion.page.scores import LOW, MEANINGS, SECTIONS, title, value_text

PICTURE_HEIGHT = 192


def as_html(runs: Sequence[RunFacts], page: Path) -> str:
    """The page, with links to the runs from where it lies."""
    folder, names = page.resolve().parent.name, [name for name in MEANINGS if any(name in run.scores for run in runs)]
    keys = list(dict.fromkeys(key for run in runs for key in run.settings))
    shared = {key: runs[0].settings.get(key) for key in keys if len({run.settings.get(key) for run in runs}) == 1} if runs else {}
    content = {
        "runs": [_run(run, page, names, shared) for run in runs],
        "shared": shared,
        "scores": {name: _about(name) for name in names},
    }
    body = (
        element("h1", folder),
        element("p", f"{len(runs)} runs. Tick two of them to compare them.", id="count", role="status"),
        _toolbar(names, keys, shared),
        element("section", id="compare", hidden=True, aria_label="Comparison"),
        element("div", id="cards"),
        data_block("data", content),
    )
    return document("gallery", f"Runs in {folder}", joined(*body), ("gallery.js",))


def _about(name: str) -> dict[str, Any]:
    """A score's words, and 1 if more of it is better, −1 if less is, 0 if neither."""
    meaning = MEANINGS[name]
    better = 0 if not meaning.better else -1 if meaning.better == LOW else 1
    return {"title": title(name), "section": SECTIONS[name.partition(".")[0]], "text": meaning.text, "better": better}


def _run(run: RunFacts, page: Path, names: Sequence[str], shared: dict[str, Any]) -> dict[str, Any]:
    folder = Path(os.path.relpath(run.folder, page.parent)).as_posix()
    return {
        "folder": folder,
        "link": f"{quote(folder)}/index.html" if (run.folder / "index.html").is_file() else None,
        "prompt": run.prompt,
        "name": run.name,
        "seed": run.seed,
        "state": run.state,
        "begun": run.begun,
        "when": when(run),
        "warnings": run.warnings,
        "scores": {
            name: [_as_number(run.scores[name]), value_text(name, run.scores[name])] for name in names if name in run.scores
        },
        "settings": {key: value for key, value in run.settings.items() if key not in shared},
        "picture": None if run.picture is None else picture_uri(run.picture, PICTURE_HEIGHT),
    }


def _as_number(value: Any) -> float | str:
    """What a score is sorted by; words by the alphabet."""
    return value if isinstance(value, str) else float(value)


def _toolbar(names: Sequence[str], keys: Sequence[str], shared: dict[str, Any]) -> Html:
    groups = [
        element("optgroup", *(element("option", title(name), value=name) for name in chosen), label=heading)
        for section, heading in SECTIONS.items()
        if (chosen := [name for name in names if name.partition(".")[0] == section])
    ]
    about = [
        element("option", label, value=value)
        for value, label in {"begun": "newest", "prompt": "prompt", "folder": "folder"}.items()
    ]
    differing = [element("option", key, value=key) for key in keys if key not in shared]
    alike = [element("option", key, value=key) for key in keys if key in shared]
    groups_of_keys = [
        element("optgroup", *options, label=label)
        for label, options in {"differing": differing, "the same in all": alike}.items()
        if options
    ]
    return element(
        "div",
        element(
            "label", "Search ", element("input", type="search", id="search", placeholder="prompt, config, folder, key=value")
        ),
        element(
            "span",
            element("label", "Sort by ", element("select", *about, *groups, id="sort")),
            element("button", "↓", type="button", id="direction", aria_label="Reverse the order"),
        ),
        element(
            "span",
            element("label", "Setting ", element("select", element("option", "any", value=""), *groups_of_keys, id="key")),
            element("label", "is ", element("select", id="value", disabled=True)),
        ),
        class_="bar",
        role="search",
    )
