"""Self-contained HTML pages: markup whose text is escaped, embedded images, a policy that loads nothing else. Loads no torch."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from functools import lru_cache
from html import escape
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
VOID = {"img", "input", "br", "meta"}
"""Elements without an end tag."""
QUALITY = 85
"""Of embedded JPEGs. JPEG is a fifth of PNG here."""


class Html(str):
    """Markup; any other text is escaped when it becomes part of a page."""


def element(tag: str, *children: str, **attributes: str | bool | int | float | None) -> Html:
    """`<tag name="value">children</tag>`; `_` in names stands for `-`, one at the end is dropped. None and False are left out."""
    names = {name.rstrip("_").replace("_", "-"): value for name, value in attributes.items() if value not in (None, False)}
    written = "".join(f" {name}" if value is True else f' {name}="{escape(str(value))}"' for name, value in names.items())
    end = "" if tag in VOID else f"</{tag}>"
    return Html(f"<{tag}{written}>{joined(*children)}{end}")


def joined(*children: str) -> Html:
    """The children one after the other."""
    return Html("".join(child if isinstance(child, Html) else escape(child) for child in children))


def table(heads: list[str], rows: list[list[str]], words: int, **attributes: str) -> Html:
    """A table that scrolls sideways; the first `words` columns are aligned to the left."""

    def line(tag: str, cells: list[str]) -> Html:
        return element("tr", *(element(tag, cell, class_="text" if i < words else None) for i, cell in enumerate(cells)))

    body = element("tbody", *(line("td", cells) for cells in rows))
    head = element("thead", line("th", heads)) if heads else Html()
    return element("div", element("table", head, body, **attributes), class_="wide", tabindex="0")


def data_block(name: str, content: Any) -> Html:
    """JSON for a script of the page."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return Html(f'<script type="application/json" id="{name}">{text}</script>')


def file_block(name: str, path: Path) -> Html:
    """A file for a script of the page, in base64."""
    return Html(f'<script type="text/plain" id="{name}">{base64.b64encode(path.read_bytes()).decode()}</script>')


def generator(kind: str) -> Html:
    """Marks a page of a kind, such as `run`, so that it may be written over."""
    return element("meta", name="generator", content=f"threefusion {kind}")


def document(kind: str, title: str, body: str, scripts: tuple[str, ...] = ()) -> str:
    """The page with page.css and the kind's own style and, one after the other, the named files of this folder as its script."""
    style, script = asset("page.css") + asset(f"{kind}.css"), "\n".join(map(asset, scripts))
    policy = (
        "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data: blob:; media-src data:; connect-src blob:; "
        f"style-src '{_digest(style)}'; script-src '{_digest(script) if script else 'none'}'"
    )
    head = joined(
        Html('<meta charset="utf-8">'),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{policy}">'),
        Html('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Html('<meta name="color-scheme" content="light dark">'),
        generator(kind),
        element("title", title),
        Html(f"<style>{style}</style>"),
    )
    end = f'\n<script type="module">{script}</script>' if script else ""
    return f'<!doctype html>\n<html lang="en">\n<head>{head}</head>\n<body>\n{joined(body)}{end}\n</body>\n</html>\n'


@lru_cache
def asset(name: str) -> str:
    """The text of a file of this folder."""
    return (HERE / name).read_text(encoding="utf-8")


@lru_cache
def _digest(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def picture_uri(path: Path, height: int | None = None) -> str | None:
    """An image file as a JPEG in a data URI, at most `height` pixels high; None if it is missing or damaged.

    A picture that is used again is read once.
    """
    try:
        return _picture_uri(path, path.stat().st_mtime_ns, height)
    except Exception:  # Pillow raises errors of many kinds for damaged files
        return None


@lru_cache(maxsize=4096)
def _picture_uri(path: Path, changed: int, height: int | None) -> str:
    """`changed` distinguishes versions of a file."""
    from PIL import Image

    written = io.BytesIO()
    with Image.open(path) as image:
        shown = image.convert("RGB")
    if height is not None and shown.height > height:
        shown = shown.resize((max(1, round(shown.width * height / shown.height)), height), Image.Resampling.BOX)
    shown.save(written, format="jpeg", quality=QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(written.getvalue()).decode()
