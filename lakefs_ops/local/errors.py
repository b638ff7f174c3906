"""What the server refuses, and with which status.

The texts and statuses are those that a lakeFS 1.84 answers (contract recordings).
"""

from __future__ import annotations

from typing import Any


class Refusal(Exception):
    """The root: a request that is answered by an error.

    Attributes:
        status: the HTTP status.
        message: the text of the answer.
        headers: further headers of the answer.
    """

    status = 500

    def __init__(self, message: str, *, headers: dict[str, str] | None = None, body: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.headers = headers or {}
        self.body = body


class Invalid(Refusal):
    """400: the request cannot be carried out as it is."""

    status = 400


class NoChanges(Invalid):
    """400: nothing to commit or to merge."""


class Unauthenticated(Refusal):
    """401: unknown credentials."""

    status = 401


class Forbidden(Refusal):
    """403: known, and refused."""

    status = 403


class Missing(Refusal):
    """404: it does not exist."""

    status = 404


class Conflicting(Refusal):
    """409: it contradicts what is there."""

    status = 409


class DataGone(Refusal):
    """410: the record is there, its bytes are not."""

    status = 410


class Unmet(Refusal):
    """412: a condition of the request does not hold, or a hook refused."""

    status = 412


class Unsatisfiable(Refusal):
    """416: not a part of the object."""

    status = 416


class Contended(Refusal):
    """429: too many writers at once."""

    status = 429


class Unimplemented(Refusal):
    """501: this edition does not have it."""

    status = 501
