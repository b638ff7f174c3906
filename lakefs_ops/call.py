"""One request as a value: what an operation asks for, before anything is sent.

A group's method builds a `Call` and hands it to a `Sender`; so a test can look at every operation without
a server, and the transport is the only place that knows HTTP.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import IO, Generic, Protocol, TypeVar
from urllib.parse import quote

from lakefs_ops.errors import InvalidArgument

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Content = bytes | IO[bytes] | Iterable[bytes]
Body = Content | None
QueryValue = str | int | bool | Iterable[str] | None

_NEGATIVE_MODIFIER = re.compile(r"[~^]-")
_REF_NOUNS = frozenset({"ref", "sourceRef", "leftRef", "rightRef", "commitId", "destinationBranch"})
_NAMING = frozenset(
    {
        "after", "branch", "commit", "commit_id", "default_branch", "dest_path", "destination_branch", "id", "location",
        "name", "path", "pattern", "prefix", "principalId", "ref", "source", "source_branch", "source_metarange",
        "src_path", "src_ref", "stop_at", "storage_namespace", "task_id", "username",
    }
)  # fmt: skip
"""What a message repeats of a query and a body."""
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Call(Generic[T_co]):
    """One request to the lakeFS API and the type of its answer.

    Attributes:
        operation: the operation's name in the lakeFS specification, such as ``getBranch``.
        method: the HTTP method.
        path: the address below ``/api/v1`` as in the specification, with names in braces.
        path_params: values of the parameters in braces, such as repository and branch.
        result: what a success is parsed into: a `Model`, ``str``, ``bytes`` or ``NoneType``.
        query: names and values of the query, in order, not yet quoted.
        body: bytes, an open binary file, or an iterator of bytes.
        headers: further headers.
        idempotent: whether sending it twice leaves the same state as sending it once; reads always are.
        authenticated: whether credentials go along.
    """

    operation: str
    method: str
    path: str
    path_params: Mapping[str, str]
    result: type[T_co]
    query: tuple[tuple[str, str], ...] = ()
    body: Body = None
    headers: Mapping[str, str] = field(default_factory=dict)
    idempotent: bool = False
    authenticated: bool = True

    @property
    def address(self) -> str:
        """The address below ``/api/v1``, quoted, without the query.

        Raises:
            InvalidArgument: a name that cannot be sent.
        """
        return self.path.format_map({noun: _segment(noun, name) for noun, name in self.path_params.items()})

    @property
    def repeatable(self) -> bool:
        """Whether the transport may send it again when no answer came."""
        return self.idempotent or self.reads

    @property
    def reads(self) -> bool:
        """Whether it changes nothing."""
        return self.method in ("GET", "HEAD")

    @property
    def context(self) -> dict[str, str]:
        """What error messages name: the path parameters, and names in the query and in the body."""
        context = dict(self.path_params)
        context |= {name: value for name, value in self.query if name in _NAMING}
        body = None
        if isinstance(self.body, bytes) and "Content-Type" not in self.headers:
            with suppress(ValueError, RecursionError):
                body = json.loads(self.body)
        if isinstance(body, dict):
            context |= {name: value for name, value in body.items() if name in _NAMING and isinstance(value, str)}
        return context

    def with_query(self, **values: QueryValue) -> Call[T_co]:
        """Return the same call with further query parameters."""
        return replace(self, query=self.query + query(**values))

    def __str__(self) -> str:
        return f"{self.operation}({', '.join(f'{noun} {name!r}' for noun, name in self.context.items())})"


class Sender(Protocol):
    """What a group needs of the transport."""

    @property
    def endpoint(self) -> str:
        """The server's address, for messages."""
        ...

    def send(self, call: Call[T]) -> T:
        """Send the call and return its typed answer."""
        ...

    def open(self, call: Call[bytes]) -> Stream:
        """Send the call and return the answer's body as a stream."""
        ...


class Stream(Protocol):
    """The body of an answer, read in pieces; a context manager."""

    headers: Mapping[str, str]

    def __enter__(self) -> Stream: ...
    def __exit__(self, *exc: object) -> None: ...
    def __iter__(self) -> Iterator[bytes]: ...

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes, all that is left when negative."""
        ...

    def close(self) -> None:
        """Give the connection back."""
        ...


def reference(noun: str, name: str) -> str:
    """Return a ref that may be sent.

    Raises:
        InvalidArgument: it counts backwards (``main^-1``), at which lakeFS 1.84 drops the connection.
    """
    if isinstance(name, str) and _NEGATIVE_MODIFIER.search(name):
        raise InvalidArgument(f"{noun} {name!r} counts backwards; a number after ~ or ^ must not be negative")
    return name


def _segment(noun: str, name: str) -> str:
    """Quote one name for its place in the address.

    The server decodes names in an address twice (lakeFS 1.84, recorded), so a percent sign is quoted twice.

    Raises:
        InvalidArgument: the name is empty or no text, so it would address something else; or a ref counts
            backwards.
    """
    if not isinstance(name, str) or not name:
        raise InvalidArgument(f"{noun} must be a text that is not empty, got {name!r}")
    if noun in _REF_NOUNS:
        reference(noun, name)
    _unicode(noun, name)
    quoted = quote(name, safe="~") if name.strip(".") else name.replace(".", "%2E")
    return quote(quoted, safe="") if "%" in name else quoted


def _unicode(noun: str, text: str) -> str:
    """Return the text, unless it holds halves of characters that UTF-8 cannot write."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidArgument(f"{noun} {text!r} is no Unicode text") from None
    return text


def query(**values: QueryValue) -> tuple[tuple[str, str], ...]:
    """Turn arguments into query parameters: ``None`` is left out, lists are repeated, booleans are words.

    A trailing underscore (``from_``) belongs to Python, not to the name.

    Raises:
        InvalidArgument: a text that is no Unicode.
    """
    pairs: list[tuple[str, str]] = []
    for name, value in values.items():
        if value is None:
            continue
        name = name.rstrip("_")
        if isinstance(value, bool):
            pairs.append((name, "true" if value else "false"))
        elif isinstance(value, str | int):
            pairs.append((name, _unicode(name, str(value))))
        else:
            pairs.extend((name, _unicode(name, item)) for item in value)
    return tuple(pairs)


def headers(values: Mapping[str, str | None]) -> dict[str, str]:
    """Turn arguments into headers: ``None`` is left out, and what is not Latin-1 goes as UTF-8.

    Raises:
        InvalidArgument: a value holds a line break or another control character, or is no Unicode.
    """
    given = {name: value for name, value in values.items() if value is not None}
    for name, value in given.items():
        if _CONTROL.search(_unicode(name, value)):
            raise InvalidArgument(f"{name} must not hold line breaks or other control characters")
    return {name: value.encode().decode("latin-1") for name, value in given.items()}
