"""index.html: the report as one self-contained page with embedded images. Loads no torch."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

from threefusion.bench.report import Report, Section, Significant, sections, short
from threefusion.bench.table import Row
from threefusion.page.markup import Html, document, element, joined, picture_uri, table
from threefusion.page.scores import number


def as_html(report: Report, folder: Path) -> str:
    """The page, which lies in the folder of the benchmark; pictures link to the pages of their runs."""
    parts = [
        element("h1", report.plan.name),
        element("p", report.progress),
        *map(_section, sections(report)),
        element("h2", "Pictures"),
        element("p", "Four sides, and their normals."),
        _pictures(report, folder),
    ]
    if report.remarks:
        parts += [element("h2", "Remarks"), element("ul", *(element("li", remark) for remark in report.remarks))]
    return document("bench", report.plan.name, joined(*parts))


def _section(section: Section) -> Html:
    rows = [[_cell(cell) for cell in cells] for cells in section.rows]
    return joined(element("h2", section.title), element("p", section.explanation), table(section.heads, rows, section.words))


def _cell(text: str) -> Html:
    """A cell, coloured where it says something that stands out."""
    kind = "sure" if isinstance(text, Significant) else "failed" if text == "failed" else ""
    return element("span", text, class_=kind) if kind else joined(text)


def _pictures(report: Report, folder: Path) -> Html:
    """A line per prompt and seed, a column per variant."""
    rows = {(row.variant, *row.key): row for row in report.table.rows}
    lines = [
        [
            joined(prompt, element("br"), element("span", f"seed {seed}", class_="soft")),
            *(_figure(rows[variant, prompt, seed], report, folder) for variant in report.plan.variants),
        ]
        for prompt in report.plan.prompts
        for seed in report.plan.seeds
    ]
    heads = ["", *report.plan.variants]
    return table(heads, lines, len(heads), class_="pictures")


def _figure(row: Row, report: Report, folder: Path) -> Html:
    source = row.picture and picture_uri(row.picture)
    alternative = f"{row.prompt}, {row.variant}, seed {row.seed}"
    shown = element("img", src=source, alt=alternative) if source else element("div", "no picture", class_="none")
    page = row.folder / "index.html"
    if page.is_file():
        shown = element("a", shown, href=quote(Path(os.path.relpath(page, folder)).as_posix()))
    state = "" if row.state == "finished" else row.state
    values = [f"{short(column)} {number(row.numbers[column])}" for column in report.columns if column in row.numbers][:3]
    return element("figure", shown, element("figcaption", _cell(state), f" {' · '.join(values)}"))
