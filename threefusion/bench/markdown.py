"""table.md: the report as Markdown. Loads no torch."""

from __future__ import annotations

from threefusion.bench.report import Report, Section, Significant, sections


def as_markdown(report: Report) -> str:
    """The progress, a table per section, then what went wrong."""
    parts = [f"# {report.plan.name}", f"{report.progress}.", *map(_section, sections(report))]
    if report.remarks:
        parts += ["## Remarks", "\n".join(f"- {remark}" for remark in report.remarks)]
    return "\n\n".join(parts) + "\n"


def _section(section: Section) -> str:
    lines = [section.heads, ["---"] * len(section.heads), *section.rows]
    table = "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)
    return "\n\n".join(filter(None, [f"## {section.title}", section.explanation, table]))


def _cell(text: str) -> str:
    one_line = " ".join(text.split()).replace("|", "\\|")
    return f"**{one_line}**" if isinstance(text, Significant) else one_line
