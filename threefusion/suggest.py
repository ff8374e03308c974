"""The nearest valid name, for every message about a name that does not exist."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`. Did you mean 'x'?`, or nothing if no known name is near; upper case and underscores do not count."""
    by_form = {_form(candidate): candidate for candidate in known}
    close = get_close_matches(_form(name), by_form, 1, 0.6)
    return f". Did you mean {by_form[close[0]]!r}?" if close else ""


def nearest(name: str, known: Iterable[str]) -> str:
    """`did_you_mean`, or everything there is."""
    known = list(known)
    return did_you_mean(name, known) or f". There is: {', '.join(known) or 'nothing'}"


def _form(name: str) -> str:
    return name.lower().replace("_", "-")
