"""The page of a run. Loads no torch."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from urllib.parse import quote

from threefusion.page.facts import RunDetails, RunFacts
from threefusion.page.markup import Html, data_block, document, element, file_block, joined, picture_uri, table
from threefusion.page.scores import HIGH, LOW, MEANINGS, SECTIONS, title, value_text

PREVIEW_HEIGHT = 320
MOST_BYTES = 24_000_000
"""A larger mesh or video is linked in place of being part of the page."""
HEADLINES = (
    "text_image.r_precision", "truth.silhouette_iou", "truth.skill", "truth.albedo_error", "pathology.janus", "cost.seconds",
)  # fmt: skip
"""Scores at the top, those that the run has."""
ARROWS = {HIGH: "↑", LOW: "↓"}
MODES = {"shaded": "Shaded", "colour": "Unlit colour", "shape": "Shape", "normals": "Normals"}
KEYS = "Drag or arrow keys: orbit. Wheel or + and −, after a click: zoom. 0: back to the start."


def as_html(details: RunDetails) -> str:
    """The page."""
    facts = details.facts
    mesh = details.mesh is not None and details.mesh.suffix == ".glb"
    embedded = mesh and details.mesh.stat().st_size <= MOST_BYTES
    body = joined(
        _header(facts),
        _warnings(facts),
        element("div", *_media(details, mesh, embedded), class_="media"),
        _previews(details),
        _curves(details),
        *_scores(facts),
        _phases(details),
        _commands(details),
        *_config(details),
        _footer(details),
        file_block("mesh", details.mesh) if embedded else "",
    )
    scripts = (*(["viewer/viewer.min.js"] if mesh else []), "run.js")
    return document("run", f"{facts.prompt} · {facts.name}", body, scripts)


def when(facts: RunFacts) -> str:
    """The time at which a run began."""
    return datetime.fromtimestamp(facts.begun).strftime("%Y-%m-%d %H:%M")


def _header(facts: RunFacts) -> Html:
    shown = [name for name in HEADLINES if name in facts.scores]
    tiles = [
        element(
            "div",
            element("strong", value_text(name, facts.scores[name])),
            element("span", title(name)),
            class_="tile",
            title=MEANINGS[name].text,
        )
        for name in shown
    ]
    about = f"config {facts.name} · seed {facts.seed} · {when(facts)}"
    return element(
        "header",
        element("h1", facts.prompt or "(no prompt)"),
        element("p", element("span", facts.state, class_=f"state {facts.state}"), f" {about}"),
        element("div", *tiles, class_="tiles"),
    )


def _warnings(facts: RunFacts) -> Html:
    if not facts.warnings:
        return Html()
    return element(
        "section", element("h2", "Warnings"), element("ul", *(element("li", w) for w in facts.warnings)), class_="warnings"
    )


def _media(details: RunDetails, mesh: bool, embedded: bool) -> Iterator[Html]:
    """The mesh in a viewer, and the turntable."""
    if mesh:
        modes = [element("option", label, value=mode) for mode, label in MODES.items()]
        file = element("input", type="file", accept=".glb", id="choose")
        large = element("label", f"{details.mesh.name} is too large for this page. Choose it from the run's folder mesh/: ", file)
        yield element(
            "figure",
            element("canvas", id="viewer", tabindex="0", role="img", aria_label=f"The mesh of {details.facts.prompt}. {KEYS}"),
            element("p", "" if embedded else large, id="state", role="status"),
            element(
                "div",
                element("label", "Show ", element("select", *modes, id="mode")),
                element("label", element("input", type="checkbox", id="wireframe"), " Wireframe"),
                element("button", "Reset view", type="button", id="reset"),
                class_="bar",
            ),
            element("figcaption", KEYS),
        )
    if details.video is not None:
        small = details.video.stat().st_size <= MOST_BYTES
        yield element(
            "figure",
            _video(details.video) if small else _link(details.video, details),
            element("figcaption", "A full turn."),
        )


def _video(path: Path) -> Html:
    source = f"data:video/{path.suffix[1:]};base64,{base64.b64encode(path.read_bytes()).decode()}"
    return element("video", src=source, controls=True, loop=True, muted=True, playsinline=True, id="turntable")


def _previews(details: RunDetails) -> Html:
    legible = {step: uri for step, path in details.previews if (uri := picture_uri(path, PREVIEW_HEIGHT))}
    if not legible:
        return Html()
    steps, pictures, last = list(legible), list(legible.values()), len(legible) - 1
    slider = element("input", type="range", id="slider", min="0", max=last, value=last, aria_label="Step of the pictures")
    bar = element(
        "div",
        element("button", "Play", type="button", id="play"),
        slider,
        element("output", f"step {steps[-1]}", id="step"),
        class_="bar",
    )
    return element(
        "section",
        element("h2", "Over the training"),
        element("p", "Four sides in unlit colour, and their normals below; in two dimensions, the pictures themselves."),
        element("img", src=pictures[-1], alt=f"The scene at step {steps[-1]}", id="preview"),
        bar if last else "",
        data_block("previews", {"steps": steps, "pictures": pictures}),
    )


def _curves(details: RunDetails) -> Html:
    if not details.curves:
        return Html()
    curves = [
        {"name": curve.name, "steps": curve.steps, "values": [float(f"{v:.5g}") for v in curve.values]}
        for curve in details.curves
    ]
    return element(
        "section",
        element("h2", "Curves"),
        element(
            "p",
            "Means since the row before. Of the loss of score distillation only the gradient is meaningful.",
        ),
        element("div", id="curves"),
        data_block("metrics", {"curves": curves, "stages": details.stages}),
    )


def _scores(facts: RunFacts) -> Iterator[Html]:
    for section, heading in SECTIONS.items():
        names = [name for name in MEANINGS if name.partition(".")[0] == section and name in facts.scores]
        if names:
            rows = [
                [
                    joined(
                        title(name),
                        element("span", f" {ARROWS.get(MEANINGS[name].better, '')}", class_="soft", title=MEANINGS[name].better),
                    ),
                    value_text(name, facts.scores[name]),
                    element("span", MEANINGS[name].text, class_="soft"),
                ]
                for name in names
            ]
            yield element("section", element("h2", heading), table([], rows, 0, class_="scores"))


def _phases(details: RunDetails) -> Html:
    """Where the time went, as one bar."""
    total = sum(details.phases.values())
    if not total:
        return Html()
    at, bars, legend = 0.0, [], []
    for index, (name, seconds) in enumerate(sorted(details.phases.items(), key=lambda item: -item[1])):
        share = 100 * seconds / total
        bars.append(element("rect", x=f"{at:.3f}", y="0", width=f"{share:.3f}", height="1", class_=f"phase{index % 5}"))
        legend.append(element("li", f"{name} {seconds:.1f} s, {share:.0f} %", class_=f"phase{index % 5}"))
        at += share
    picture = element(
        "svg", *bars, viewBox="0 0 100 1", preserveAspectRatio="none", class_="phases", role="img", aria_label="Time by phase"
    )
    return element("section", element("h2", "Time by phase"), picture, element("ul", *legend, class_="legend"))


def _commands(details: RunDetails) -> Html:
    lines = [
        element(
            "div",
            element("span", what, class_="soft"),
            element("code", command, tabindex="0"),
            element("button", "Copy", type="button"),
            class_="command",
        )
        for what, command in details.commands
    ]
    return element("section", element("h2", "Commands"), *lines)


def _config(details: RunDetails) -> Iterator[Html]:
    if details.base:
        rows = [[key, before, now] for key, before, now in details.changes]
        shown = table(["setting", details.base, "this run"], rows, 3) if rows else element("p", "None.")
        yield element("section", element("h2", f"Differences from {details.base}"), element("p", "As that file is now."), shown)
    settings = details.facts.settings
    lines = [
        element("tr", element("td", key), element("td", value), class_="set" if key in details.chosen else None)
        for key, value in settings.items()
    ]
    only = element(
        "label",
        element("input", type="checkbox", id="only-set", checked=True),
        " Only components and what differs from their defaults",
    )
    words = element("label", "Filter ", element("input", type="search", id="filter"))
    yield element(
        "section",
        element("h2", "Config"),
        element("div", words, only if details.chosen else "", class_="bar"),
        element("div", element("table", element("tbody", *lines), id="config"), class_="wide", tabindex="0"),
    )


def _footer(details: RunDetails) -> Html:
    versions = ", ".join(f"{name} {version}" for name, version in details.versions.items())
    links = [joined(_link(path, details), " ") for path in details.files]
    return element("footer", element("p", "Files: ", *links), element("p", versions))


def _link(path: Path, details: RunDetails) -> Html:
    relative = os.path.relpath(path, details.facts.folder)
    return element("a", relative, href=quote(Path(relative).as_posix()))
