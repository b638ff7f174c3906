"""One API request as a value, before it is sent.

The method of a group builds a `Call` and passes it to a `Sender`. So tests can check every operation without a
server, and only the transport deals with HTTP.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import IO, Generic, Protocol, TypeVar, cast
from urllib.parse import quote

from lakefs_ops.errors import InvalidArgument

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

Content = bytes | IO[bytes] | Iterable[bytes]
Body = Content | None
QueryValue = str | int | bool | Iterable[str] | None

_NEGATIVE_MODIFIER = re.compile(r"[~^]-")
_REF_NOUNS = frozenset({"ref", "sourceRef", "leftRef", "rightRef", "commitId", "destinationBranch"})
_CONTEXT_FIELDS = frozenset(
    {
        "after", "branch", "commit", "commit_id", "default_branch", "dest_path", "destination_branch", "id", "location",
        "name", "path", "pattern", "prefix", "principalId", "ref", "source", "source_branch", "source_metarange",
        "src_path", "src_ref", "stop_at", "storage_namespace", "task_id", "username",
    }
)  # fmt: skip
"""Fields of a query or a body that error messages repeat."""
_REQUIRED = frozenset({"dest_path", "id", "path", "principalId", "ref", "task_id"})
"""Query parameters that every operation with them requires."""
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Call(Generic[T_co]):
    """One request to the lakeFS API and the type of its result.

    Attributes:
        operation: the operation's name in the lakeFS specification, such as ``getBranch``.
        method: the HTTP method.
        path: the path below ``/api/v1`` as in the specification, with parameters in braces.
        path_params: values of the path parameters, such as repository and branch.
        result: the type of the parsed response: a `Model`, ``str``, ``bytes`` or ``NoneType``.
        query: names and values of the query parameters, in order and unquoted.
        body: bytes, an open binary file, or an iterator of bytes. Bytes are JSON unless ``headers`` has another
            ``Content-Type``.
        headers: additional headers.
        idempotent: whether sending the call twice leaves the same state as sending it once; reads always do.
        authenticated: whether to send credentials.
        settle: called before a repeat if an earlier attempt may have taken effect, with the sender and the seconds
            since the first attempt. Its result is the call's result; None repeats the call; it raises if a repeat
            would do harm.
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
    settle: Callable[[Sender, float], T_co | None] | None = None

    @property
    def address(self) -> str:
        """The quoted path below ``/api/v1``, without the query.

        Raises:
            InvalidArgument: a path parameter is invalid.
        """
        return self.path.format_map({noun: _segment(noun, name) for noun, name in self.path_params.items()})

    @property
    def repeatable(self) -> bool:
        """Whether the transport may send the call again after a failure."""
        return self.idempotent or self.reads

    @property
    def reads(self) -> bool:
        """Whether the call only reads."""
        return self.method in ("GET", "HEAD")

    @property
    def context(self) -> dict[str, str]:
        """The path parameters, and the names in the query and the body; error messages contain them."""
        context = dict(self.path_params)
        context |= {name: value for name, value in self.query if name in _CONTEXT_FIELDS}
        body = None
        if isinstance(self.body, bytes) and "Content-Type" not in self.headers:
            with suppress(ValueError, RecursionError):
                body = json.loads(self.body)
        if isinstance(body, dict):
            context |= {
                name: value for name, value in body.items() if name in _CONTEXT_FIELDS and isinstance(value, str)
            }
        return context

    def with_query(self, **values: QueryValue) -> Call[T_co]:
        """Return the call with additional query parameters."""
        return replace(self, query=self.query + query(**values))

    def __str__(self) -> str:
        return f"{self.operation}({', '.join(f'{noun} {name!r}' for noun, name in self.context.items())})"


class Sender(Protocol):
    """The part of the transport that groups use."""

    @property
    def endpoint(self) -> str:
        """The server's address, for error messages."""
        ...

    def send(self, call: Call[T]) -> T:
        """Send the call and return its parsed result."""
        ...

    def open(self, call: Call[bytes]) -> Stream:
        """Send the call and return the response's body as a stream."""
        ...


class Stream(Protocol):
    """The body of a response, read in blocks; a context manager."""

    headers: Mapping[str, str]

    def __enter__(self) -> Stream: ...
    def __exit__(self, *exc: object) -> None: ...
    def __iter__(self) -> Iterator[bytes]: ...

    def read(self, size: int = -1) -> bytes:
        """Return up to ``size`` bytes, or all remaining bytes if it is negative."""
        ...

    def close(self) -> None:
        """Release the connection."""
        ...


def _non_empty(noun: str, text: str) -> str:
    """Return the text unless it is empty or not a string."""
    if not isinstance(text, str) or not text:
        raise InvalidArgument(f"{noun} must be a non-empty string, got {text!r}")
    return text


def reference(noun: str, name: str) -> str:
    """Return the ref if it can be sent.

    Raises:
        InvalidArgument: a number after ~ or ^ is negative (``main^-1``), for which lakeFS 1.84 drops the connection.
    """
    if isinstance(name, str) and _NEGATIVE_MODIFIER.search(name):
        raise InvalidArgument(f"{noun} {name!r} must not have a negative number after ~ or ^")
    return name


def _segment(noun: str, name: str) -> str:
    """Quote the value of a path parameter.

    lakeFS decodes the path twice (lakeFS 1.84, recorded), so a percent sign is quoted twice.

    Raises:
        InvalidArgument: the value is empty or not a string, so the path would be another one; or a ref is invalid.
    """
    _non_empty(noun, name)
    if noun in _REF_NOUNS:
        reference(noun, name)
    _valid_unicode(noun, name)
    quoted = quote(name, safe="~") if name.strip(".") else name.replace(".", "%2E")
    return quote(quoted, safe="") if "%" in name else quoted


def _valid_unicode(noun: str, text: str) -> str:
    """Return the text unless it is not a string, or has unpaired surrogates, which UTF-8 cannot encode."""
    if not isinstance(text, str):
        raise InvalidArgument(f"{noun} must be a string, got {type(text).__name__}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidArgument(f"{noun} {text!r} must be valid Unicode, without unpaired surrogates") from None
    return text


def query(**values: QueryValue) -> tuple[tuple[str, str], ...]:
    """Convert arguments into query parameters: omit ``None``, repeat lists, write booleans as true and false.

    A trailing underscore (``from_``) is removed from the name.

    Raises:
        InvalidArgument: a required value is empty or not a string, or a value has another type or is not valid Unicode.
    """
    pairs: list[tuple[str, str]] = []
    for name, value in values.items():
        name = name.rstrip("_")
        if name in _REQUIRED:
            pairs.append((name, _valid_unicode(name, _non_empty(name, cast("str", value)))))
        elif value is None:
            continue
        elif isinstance(value, bool):
            pairs.append((name, "true" if value else "false"))
        elif isinstance(value, str | int):
            pairs.append((name, _valid_unicode(name, str(value))))
        elif isinstance(value, Iterable):
            pairs.extend((name, _valid_unicode(name, item)) for item in value)
        else:
            raise InvalidArgument(f"{name} must be a string, a number or a list, got {type(value).__name__}")
    return tuple(pairs)


def headers(values: Mapping[str, str | None]) -> dict[str, str]:
    """Convert arguments into headers: omit ``None``, and encode text as UTF-8.

    Raises:
        InvalidArgument: a value contains a line break or another control character, or is not valid Unicode.
    """
    given = {name: value for name, value in values.items() if value is not None}
    for name, value in given.items():
        if _CONTROL.search(_valid_unicode(name, value)):
            raise InvalidArgument(f"{name} must not contain line breaks or other control characters")
    return {name: value.encode().decode("latin-1") for name, value in given.items()}
