"""The errors that a user can mend: printed as one line, exit code 2, no traceback."""

from __future__ import annotations


class UserError(ValueError):
    """Something the user asked for cannot be done; the message says what was expected and what to change."""
