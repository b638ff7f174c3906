"""Base classes of all models: frozen, tolerant of a newer server, schemas built on first use.

`Model` is a pydantic model. `Entry` is a slim dataclass with the same methods, for listings with hundreds of thousands
of results (docs/decisions/models.md has the figures).
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
    """Base of models that callers can create; invalid fields raise an error of this package.

    Raises:
        InvalidArgument: a field is missing, unknown or of the wrong type; the message has no values, which may be
            secrets.
    """

    if not TYPE_CHECKING:  # for type checkers, it would hide the signature with the fields

        def __init__(self, /, **fields: Any) -> None:
            try:
                super().__init__(**fields)
            except ValidationError as error:
                raise InvalidArgument(f"{type(self).__name__}: {problems(error)}") from None

        # Lets pydantic skip this constructor when it parses.
        __init__.__pydantic_base_init__ = True


class Model(Checked):
    """A value of the lakeFS API.

    Models are frozen. Unknown fields are kept in ``model_extra``, so a newer server does not break an older client.
    Enumerations are plain strings, because servers send values outside their specification (``skipped`` as the status
    of a hook, lakeFS 1.84). Dates keep the number or text of the API; properties return them as aware ``datetime``
    objects.

    Schemas are built at the first parse (``defer_build``), which keeps the import of a group cheap.
    """

    # cache_strings: values rarely repeat, so caching them would take a third of the time of a page.
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
        """Create the model from a response; models that are sent in headers override this.

        Args:
            body: the response's body, JSON in UTF-8.
            headers: the response's headers, case-insensitive.
        """
        return cls.model_validate_json(body)

    @classmethod
    def body(cls, **values: Any) -> bytes:
        """Validate the values and return them as JSON, without None values.

        Raises:
            InvalidArgument: a value has the wrong type; the message names all such fields.
        """
        try:
            return cls.model_validate(values).model_dump_json(by_alias=True, exclude_none=True).encode()
        except ValidationError as error:
            problem = problems(error)
        except PydanticSerializationError:
            problem = "a text must be valid Unicode, without unpaired surrogates"
        raise InvalidArgument(f"{cls.__name__}: {problem}")

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        return [(name, value) for name, value in super().__repr_args__() if value is not None]


class Entry:
    """A result of a large listing: a slim, frozen value with the methods of a `Model`.

    A subclass is a ``dataclass(frozen=True, slots=True, kw_only=True)``. Unknown fields are kept in ``model_extra``.
    """

    __slots__ = ("_extra",)
    __pydantic_config__ = ConfigDict(extra="forbid", defer_build=True)

    _extra: dict[str, Any]

    @property
    def model_extra(self) -> dict[str, Any]:
        """Fields that this version does not know; usually empty."""
        return getattr(self, "_extra", {})

    @classmethod
    def from_answer(cls, body: bytes, headers: Mapping[str, str]) -> Self:
        """Create the entry from a response."""
        return cls.model_validate_json(body)

    @classmethod
    def model_validate(cls, value: Any) -> Self:
        """Create the entry from a mapping."""
        return _adapter(cls).validate_python(value)

    @classmethod
    def model_validate_json(cls, text: str | bytes) -> Self:
        """Create the entry from JSON."""
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

    # The first choice forbids unknown fields, which is fast. If it fails, the second one moves them to `_extra`.
    # Pydantic's own way to keep them would cost a set and two dictionaries per entry.
    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        known = handler(source)
        return core_schema.union_schema(
            [known, core_schema.no_info_wrap_validator_function(cls._validate_with_extra, known)],
            mode="left_to_right",
            serialization=core_schema.wrap_serializer_function_ser_schema(cls._with_extra, schema=known),
        )

    @classmethod
    def _validate_with_extra(cls, value: Any, validate: core_schema.ValidatorFunctionWrapHandler) -> Any:
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
    """Describe which fields are invalid and why, without their values, which may be secrets."""
    return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())


def utc(seconds: float) -> datetime:
    """Convert Unix seconds into an aware ``datetime`` in UTC.

    Raises:
        InvalidArgument: the time is outside the years 1 to 9999.
    """
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        raise InvalidArgument(f"{seconds!r} seconds since 1970 must be a date in the years 1 to 9999") from None


def moment(text: str) -> datetime:
    """Convert an RFC 3339 time into an aware ``datetime``, truncated to microseconds.

    Raises:
        InvalidArgument: the text is not an RFC 3339 time.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidArgument(f"{text!r} must be a time in RFC 3339 format") from None
    return time if time.tzinfo else time.replace(tzinfo=UTC)
