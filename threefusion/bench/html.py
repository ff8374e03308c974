"""index.html: the report as one self-contained page with embedded images. Loads no torch."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from functools import lru_cache
from html import escape
from pathlib import Path

from threefusion.bench.report import Report, Section, Significant, number, sections, short
from threefusion.bench.table import Row

STYLE = """
:root { color-scheme: light dark; --ink: #1d2330; --soft: #667085; --line: #dfe3ea; --back: #fff; --card: #f6f7f9;
  --good: #0a7d4f; --bad: #b42318; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7eaf0; --soft: #98a2b3; --line: #303744; --back: #12151b;
  --card: #1b2028; --good: #47cd89; --bad: #f97066; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem clamp(1rem, 4vw, 3rem) 4rem; max-width: 90rem; color: var(--ink); background: var(--back);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", sans-serif; }
h1 { margin: 0; font-size: 1.7rem; } h2 { margin: 2.5rem 0 .3rem; font-size: 1.15rem; }
p { margin: .2rem 0 .8rem; max-width: 60rem; color: var(--soft); }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .9rem .4rem 0; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th { color: var(--soft); font-weight: 500; } thead th { vertical-align: bottom; }
th.text, td.text { text-align: left; } .soft { color: var(--soft); } .sure { color: var(--good); font-weight: 600; }
.failed { color: var(--bad); font-weight: 600; }
.pictures td { border: 0; padding: 0 .8rem .8rem 0; vertical-align: top; text-align: left; }
.pictures th { position: sticky; left: 0; background: var(--back); text-align: left; white-space: normal; min-width: 7rem; }
figure { margin: 0; padding: .5rem; width: 17rem; border-radius: .5rem; background: var(--card); }
img { display: block; width: 100%; border-radius: .3rem; } figcaption { padding-top: .35rem; font-size: .8rem; color: var(--soft);
  white-space: normal; }
.none { display: grid; place-items: center; aspect-ratio: 2; color: var(--soft); }
"""


def as_html(report: Report) -> str:
    """The page."""
    name = escape(report.plan.name)
    parts = [
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{name}</title>',
        f'<meta name="viewport" content="width=device-width">\n<style>{STYLE}</style>\n</head>\n<body>',
        f"<h1>{name}</h1>\n<p>{escape(report.progress)}</p>",
        *map(_section, sections(report)),
        f"<h2>Pictures</h2>\n<p>Four sides, and their normals.</p>\n{_pictures(report)}",
    ]
    if report.remarks:
        parts.append("<h2>Remarks</h2>\n<ul>" + "".join(f"<li>{escape(remark)}</li>" for remark in report.remarks) + "</ul>")
    return "\n".join([*parts, "</body>\n</html>\n"])


def _section(section: Section) -> str:
    def line(tag: str, cells: Sequence[str]) -> str:
        kinds = [' class="text"' if column < section.words else "" for column in range(len(cells))]
        return "<tr>" + "".join(f"<{tag}{kind}>{_cell(cell)}</{tag}>" for kind, cell in zip(kinds, cells, strict=True)) + "</tr>"

    body = "\n".join(line("td", cells) for cells in section.rows)
    table = f'<div class="wide"><table><thead>{line("th", section.heads)}</thead><tbody>\n{body}\n</tbody></table></div>'
    return f"<h2>{section.title}</h2>\n<p>{escape(section.explanation)}</p>\n{table}"


def _cell(text: str) -> str:
    """A cell, coloured where it says something that stands out."""
    kind = "sure" if isinstance(text, Significant) else "failed" if text == "failed" else ""
    return f'<span class="{kind}">{escape(text)}</span>' if kind else escape(text)


def _pictures(report: Report) -> str:
    """A line per prompt and seed, a column per variant."""
    rows = {(row.variant, *row.key): row for row in report.table.rows}
    heads = "".join(f'<th class="text">{escape(variant)}</th>' for variant in report.plan.variants)
    lines = [f"<tr><th></th>{heads}</tr>"]
    for prompt in report.plan.prompts:
        for seed in report.plan.seeds:
            shown = "".join(f"<td>{_figure(rows[variant, prompt, seed], report)}</td>" for variant in report.plan.variants)
            lines.append(f'<tr><th>{escape(prompt)}<br><span class="soft">seed {seed}</span></th>{shown}</tr>')
    return '<div class="wide"><table class="pictures">' + "\n".join(lines) + "</table></div>"


def _figure(row: Row, report: Report) -> str:
    alternative = escape(f"{row.prompt}, {row.variant}, seed {row.seed}")
    source = None if row.picture is None else _data_uri(row.picture, row.picture.stat().st_mtime_ns)
    shown = f'<img src="{source}" alt="{alternative}">' if source else '<div class="none">no picture</div>'
    state = "" if row.state == "finished" else row.state
    values = [f"{short(column)} {number(row.numbers[column])}" for column in report.columns if column in row.numbers][:3]
    return f"<figure>{shown}<figcaption>{_cell(state)} {escape(' · '.join(values))}</figcaption></figure>"


@lru_cache(maxsize=4096)
def _data_uri(path: Path, changed: int) -> str:
    """A picture as part of a page; `changed` distinguishes versions of a file. JPEG is a fifth of PNG here."""
    from PIL import Image

    written = io.BytesIO()
    Image.open(path).convert("RGB").save(written, format="jpeg", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(written.getvalue()).decode()
