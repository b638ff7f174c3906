"""Refusals: the errors that the server answers, each with its status.

The texts and statuses are those of lakeFS 1.84 (contract recordings).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Refusal(Exception):
    """Base class: a request that is answered with an error.

    Attributes:
        status: the HTTP status.
        message: the text of the answer.
        headers: additional headers of the answer.
    """

    status = 500

    def __init__(self, message: str, *, headers: dict[str, str] | None = None, body: Any = None) -> None:
        super().__init__(message)
        self.message = message
        self.headers = headers or {}
        self.body = body


class Invalid(Refusal):
    """400: the request is not valid."""

    status = 400


class NoChanges(Invalid):
    """400: nothing to commit or to merge."""


class Unauthenticated(Refusal):
    """401: unknown credentials."""

    status = 401


class Forbidden(Refusal):
    """403: not permitted."""

    status = 403


class Missing(Refusal):
    """404: not found."""

    status = 404


class Conflicting(Refusal):
    """409: conflicts with the current state."""

    status = 409


class DataGone(Refusal):
    """410: the record exists, but its bytes do not."""

    status = 410


class Unmet(Refusal):
    """412: a condition of the request does not hold, or a hook refused."""

    status = 412


class Unsatisfiable(Refusal):
    """416: the range lies outside the object."""

    status = 416


class Contended(Refusal):
    """429: too many concurrent writers."""

    status = 429


class Unimplemented(Refusal):
    """501: not part of the open-source edition."""

    status = 501


@contextmanager
def prefixed(prefix: str) -> Iterator[None]:
    """Prepend a text to the message of a refusal raised inside; its class stays."""
    try:
        yield
    except Refusal as refused:
        raise type(refused)(prefix + refused.message) from None


@contextmanager
def as_server_error(kind: type[Refusal] = Refusal) -> Iterator[None]:
    """Turn a refusal of a class into 500, where lakeFS does not map it to a status."""
    try:
        yield
    except kind as refused:
        raise Refusal(refused.message) from None
