"""The base of every model: frozen, tolerant of a newer server, built on first use."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from lakefs_ops.errors import InvalidArgument


class Model(BaseModel):
    """A value as the lakeFS API writes it.

    Models are frozen. Fields that this version does not know are kept (``model_extra``), so a newer server
    does not break an older client, and enumerations are plain strings, because servers send values outside
    their own specification (``skipped`` as a hook's status, lakeFS 1.84). Dates stay the numbers or texts of
    the wire; properties turn them into aware ``datetime`` objects when asked.

    Schemas are built at the first parse (``defer_build``), which keeps the import of a group cheap.
    """

    model_config = ConfigDict(
        frozen=True, extra="allow", defer_build=True, populate_by_name=True, protected_namespaces=()
    )

    @classmethod
    def from_answer(cls, body: bytes, headers: Mapping[str, str]) -> Self:
        """Read the model from an answer; models that live in headers override this.

        Args:
            body: the answer's body, JSON in UTF-8.
            headers: the answer's headers, case-insensitive.
        """
        return cls.model_validate_json(body)

    @classmethod
    def body(cls, **values: Any) -> bytes:
        """Check the values and return the JSON to send; what is None is left out.

        Raises:
            InvalidArgument: a value has the wrong type; the message names each.
        """
        try:
            value = cls.model_validate(values)
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
            raise InvalidArgument(f"{cls.__name__}: {problems}") from None
        return value.model_dump_json(by_alias=True, exclude_none=True).encode()


def utc(seconds: float) -> datetime:
    """Turn a wire time (Unix seconds) into an aware ``datetime`` in UTC."""
    return datetime.fromtimestamp(seconds, UTC)
