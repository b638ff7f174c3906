"""The bases of all models: frozen, tolerant of a newer server, built on first use.

There are two. `Model` is a pydantic model. `Entry` is a slim dataclass with the same methods, for what is listed
by the hundred thousand (docs/decisions/models.md has the figures).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, TypeAdapter, ValidationError
from pydantic_core import CoreSchema, PydanticSerializationError, core_schema

from lakefs_ops.errors import InvalidArgument

E_ = TypeVar("E_", bound="Entry")


class Checked(BaseModel):
    """The base of what callers may make themselves: wrong fields are told as an error of this package.

    Raises:
        InvalidArgument: a field is missing, unknown or of the wrong type; no value is repeated, it may be a secret.
    """

    if not TYPE_CHECKING:  # there it would hide the fields' own signature

        def __init__(self, /, **fields: Any) -> None:
            try:
                super().__init__(**fields)
            except ValidationError as error:
                raise InvalidArgument(f"{type(self).__name__}: {problems(error)}") from None

        # pydantic's mark of a constructor that parsing need not call.
        __init__.__pydantic_base_init__ = True


class Model(Checked):
    """A value as the lakeFS API writes it.

    Models are frozen. Fields that this version does not know are kept (``model_extra``), so a newer server
    does not break an older client, and enumerations are plain strings, because servers send values outside
    their own specification (``skipped`` as a hook's status, lakeFS 1.84). Dates stay the numbers or texts of
    the wire; properties turn them into aware ``datetime`` objects when asked.

    Schemas are built at the first parse (``defer_build``), which keeps the import of a group cheap.
    """

    # Values hardly repeat, so a memory of them costs a third of the time of a page and saves little.
    model_config = ConfigDict(
        frozen=True,
        extra="allow",
        defer_build=True,
        populate_by_name=True,
        protected_namespaces=(),
        cache_strings="keys",
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
            return cls.model_validate(values).model_dump_json(by_alias=True, exclude_none=True).encode()
        except ValidationError as error:
            wrong = problems(error)
        except PydanticSerializationError:
            wrong = "a text that is no Unicode"
        raise InvalidArgument(f"{cls.__name__}: {wrong}")

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        return [(name, value) for name, value in super().__repr_args__() if value is not None]


class Entry:
    """One of very many results of a listing: a slim, frozen value with the methods of a `Model`.

    A subclass is a ``dataclass(frozen=True, slots=True, kw_only=True)``. Fields that this version does not know are
    kept here as well (``model_extra``).
    """

    __slots__ = ("_extra",)
    __pydantic_config__ = ConfigDict(extra="forbid", defer_build=True)

    _extra: dict[str, Any]

    @property
    def model_extra(self) -> dict[str, Any]:
        """The fields that this version does not know; empty as a rule."""
        return getattr(self, "_extra", {})

    @classmethod
    def from_answer(cls, body: bytes, headers: Mapping[str, str]) -> Self:
        """Read the entry from an answer."""
        return cls.model_validate_json(body)

    @classmethod
    def model_validate(cls, value: Any) -> Self:
        """Read the entry from a mapping."""
        return _adapter(cls).validate_python(value)

    @classmethod
    def model_validate_json(cls, text: str | bytes) -> Self:
        """Read the entry from JSON."""
        return _adapter(cls).validate_json(text)

    def model_dump(self, *, mode: Literal["json", "python"] = "python", exclude_none: bool = False) -> dict[str, Any]:
        """Return the entry as a dictionary, unknown fields included."""
        values: dict[str, Any] = _adapter(type(self)).dump_python(self, mode=mode, exclude_none=exclude_none)
        return values

    def model_dump_json(self, *, exclude_none: bool = False) -> str:
        """Return the entry as JSON, unknown fields included."""
        return _adapter(type(self)).dump_json(self, exclude_none=exclude_none).decode()

    def __repr__(self) -> str:
        known = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}  # type: ignore[arg-type]
        shown = {**known, **self.model_extra}
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in shown.items() if v is not None)})"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).model_validate, (self.model_dump(exclude_none=True),)

    # A schema that forbids unknown fields costs nothing where there are none; where there are, the second choice
    # sets them aside. Keeping them the usual way would cost a set and two dictionaries for every entry.
    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        known = handler(source)
        return core_schema.union_schema(
            [known, core_schema.no_info_wrap_validator_function(cls._set_aside, known)],
            mode="left_to_right",
            serialization=core_schema.wrap_serializer_function_ser_schema(cls._with_extra, schema=known),
        )

    @classmethod
    def _set_aside(cls, value: Any, validate: core_schema.ValidatorFunctionWrapHandler) -> Any:
        if not isinstance(value, dict):
            return validate(value)
        names = {f.name for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
        entry = validate({name: value[name] for name in names & value.keys()})
        object.__setattr__(entry, "_extra", {name: value[name] for name in value if name not in names})
        return entry

    def _with_extra(self, serialize: core_schema.SerializerFunctionWrapHandler) -> Any:
        return serialize(self) | self.model_extra


_adapters: dict[type[Entry], TypeAdapter[Any]] = {}


def _adapter(cls: type[E_]) -> TypeAdapter[E_]:
    if cls not in _adapters:
        _adapters[cls] = TypeAdapter(cls)
    return _adapters[cls]


def problems(error: ValidationError) -> str:
    """Say which fields are wrong and why, without their values, which may be secrets."""
    return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())


def utc(seconds: float) -> datetime:
    """Turn a wire time (Unix seconds) into an aware ``datetime`` in UTC.

    Raises:
        InvalidArgument: it is outside the years 1 to 9999.
    """
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        raise InvalidArgument(f"{seconds!r} seconds since 1970 is no date that Python can hold") from None


def moment(text: str) -> datetime:
    """Turn a wire time (RFC 3339) into an aware ``datetime``; digits behind the microseconds are cut.

    Raises:
        InvalidArgument: it is no such time.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidArgument(f"{text!r} is no time as lakeFS writes it (RFC 3339)") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
