"""Data frames of polars, eager and lazy."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl

from dagster_resources.handlers import Format, Handler, Summary, is_blank, require_columns, require_own_names, table


class LazyFrameHandler(Handler):
    """``polars.LazyFrame``: streams to the file, and reads the file when it is collected."""

    name = "polars.LazyFrame"
    lazy = True

    def dump(self, value: pl.LazyFrame, file: Path, format: Format) -> None:
        """Execute the query and write its result in batches."""
        _require_writable(value.collect_schema(), format)
        if format == "parquet":
            value.sink_parquet(file)
        elif format == "csv":
            value.sink_csv(file)
        else:
            value.sink_ndjson(file)

    def load(self, file: Path, format: Format, columns: Sequence[str] | None) -> pl.LazyFrame:
        """Scan the file; only its schema is read now."""
        if format == "jsonl" and is_blank(file):
            return pl.LazyFrame(schema=dict.fromkeys(columns or (), pl.Null))
        frame = _scan(file, format)
        wanted = require_columns(columns, frame.collect_schema().names())
        return frame if wanted is None else frame.select(wanted)

    def summarize(self, value: pl.LazyFrame, file: Path, format: Format, rows: int) -> Summary:
        """Return the summary, from the file."""
        frame = _scan(file, format)
        count = frame.select(pl.len()).collect(engine="streaming").item()
        return _summary(count, frame.collect_schema(), frame.head(rows).collect() if rows else None)


class DataFrameHandler(Handler):
    """``polars.DataFrame``."""

    name = "polars.DataFrame"

    def dump(self, value: pl.DataFrame, file: Path, format: Format) -> None:
        """Write the data frame."""
        _require_writable(value.schema, format)
        if format == "parquet":
            value.write_parquet(file)
        elif format == "csv":
            value.write_csv(file)
        else:
            value.write_ndjson(file)

    def load(self, file: Path, format: Format, columns: Sequence[str] | None) -> pl.DataFrame:
        """Read the data frame."""
        return LazyFrameHandler().load(file, format, columns).collect()

    def summarize(self, value: pl.DataFrame, file: Path, format: Format, rows: int) -> Summary:
        """Return the summary."""
        return _summary(value.height, value.schema, value.head(rows) if rows else None)


def _scan(file: Path, format: Format) -> pl.LazyFrame:
    if format == "parquet":
        return pl.scan_parquet(file, glob=False, hive_partitioning=False)
    # A type that is inferred from the first rows only would not fit, or drop, what comes later.
    if format == "csv":
        return pl.scan_csv(file, glob=False, infer_schema_length=None)
    return pl.LazyFrame() if is_blank(file) else pl.scan_ndjson(file, infer_schema_length=None)


def _require_writable(schema: pl.Schema, format: Format) -> None:
    require_own_names(schema.names(), format)
    for name, type_ in schema.items():
        if format == "jsonl" and _has_bytes(type_):  # polars would panic
            raise TypeError(f"jsonl has no place for the bytes of column {name!r}; decode or encode them first")


def _has_bytes(type_: Any) -> bool:
    if isinstance(type_, pl.Struct):
        return any(_has_bytes(field.dtype) for field in type_.fields)
    return _has_bytes(type_.inner) if isinstance(type_, pl.List | pl.Array) else bool(type_ == pl.Binary)


def _summary(count: int, schema: pl.Schema, head: pl.DataFrame | None) -> Summary:
    return Summary(
        count,
        tuple((name, str(type_)) for name, type_ in schema.items()),
        "" if head is None else table(head.columns, head.iter_rows()),
    )


HANDLERS: dict[str, Handler] = {handler.name: handler for handler in (LazyFrameHandler(), DataFrameHandler())}
