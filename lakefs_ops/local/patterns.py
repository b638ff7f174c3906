"""Regular expressions that match in linear time, for patterns and texts that a user chooses (RE2, as in lakeFS)."""

from __future__ import annotations

from typing import Any

import re2  # type: ignore[import-untyped]


class InvalidPattern(ValueError):
    """A pattern that RE2 does not accept."""


def compiled(pattern: str | bytes, *, dot_matches_newline: bool = False) -> Any:
    """Return a compiled pattern with the methods of Python's ``re.Pattern``.

    Raises:
        InvalidPattern: it is not valid.
    """
    options = re2.Options()
    options.log_errors, options.dot_nl = False, dot_matches_newline
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        raise InvalidPattern(error.args[0].decode("utf-8", "replace")) from None
    except UnicodeEncodeError:
        raise InvalidPattern("invalid UTF-8") from None
