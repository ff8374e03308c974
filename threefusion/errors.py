"""Errors that a user can fix: printed as one line, exit code 2, no traceback; and the nearest valid name for their messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import get_close_matches


class UserError(ValueError):
    """A request that cannot be met; the message says what was expected and what to change."""


class ConfigError(UserError):
    """An error in a config; the message begins with the file and line, or with `command line`."""

    def __init__(self, problem: str, place: object) -> None:
        self.problem, self.place = " ".join(problem.splitlines()), place
        super().__init__(f"{place}: {self.problem}")
        self.all: list[ConfigError] = [self]
        """All errors of the config, this one first."""

    @classmethod
    def of(cls, errors: list[ConfigError]) -> ConfigError:
        """The first of `errors`, with all of them, each once."""
        distinct: dict[str, ConfigError] = {}
        for error in errors:
            distinct.setdefault(str(error), error)
        errors[0].all = list(distinct.values())
        return errors[0]


def first_line(error: Exception) -> str:
    """The first line of an error's message, or its class where it has none."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


@contextmanager
def collected(errors: list[ConfigError], prefix: str = "") -> Iterator[None]:
    """Adds the errors of a config that are raised inside to `errors`, instead of ending there."""
    try:
        yield
    except ConfigError as error:
        errors += [ConfigError(prefix + each.problem, each.place) for each in error.all]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`. Did you mean 'x'?`, or nothing if no known name is close; case and underscores do not count."""
    by_form = {_form(candidate): candidate for candidate in known}
    close = get_close_matches(_form(name), by_form, 1, 0.6)
    return f". Did you mean {by_form[close[0]]!r}?" if close else ""


def nearest(name: str, known: Iterable[str]) -> str:
    """`did_you_mean`, or all known names."""
    known = list(known)
    return did_you_mean(name, known) or f". Available: {', '.join(known) or 'none'}"


def _form(name: str) -> str:
    return name.lower().replace("_", "-")
