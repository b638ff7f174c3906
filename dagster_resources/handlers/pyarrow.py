"""Tables and datasets of pyarrow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset as ds
import pyarrow.json
import pyarrow.parquet as pq

from dagster_resources.handlers import (
    Format,
    Handler,
    Summary,
    is_blank,
    json_line,
    require_columns,
    require_own_names,
    table,
)

STREAMED = ds.ParquetFragmentScanOptions(pre_buffer=False, use_buffered_stream=True)
"""Options that keep the memory of a scan constant; by default, it holds the bytes of the whole file."""

BLOCK, TABLE_BLOCK = 1 << 20, 64 << 20
"""The size of the blocks in which CSV and JSON lines are parsed: for a dataset, and for a table, which is in memory.

A row must fit in a block, and the first block decides the types of a dataset.
"""


class DatasetHandler(Handler):
    """``pyarrow.dataset.Dataset``: streams to one file in batches, and reads the file when it is scanned."""

    name = "pyarrow.Dataset"
    lazy = True

    def dump(self, value: ds.Dataset, file: Path, format: Format) -> None:
        """Write all batches of the dataset."""
        parquet = isinstance(value, ds.FileSystemDataset) and isinstance(value.format, ds.ParquetFileFormat)
        options = {"fragment_scan_options": STREAMED} if parquet else {}
        _write(value.schema, value.to_batches(batch_readahead=4, fragment_readahead=1, **options), file, format)

    def load(self, file: Path, format: Format, columns: Sequence[str] | None) -> ds.Dataset:
        """Open the file; only its schema is read now."""
        return _open(file, format, columns)

    def summarize(self, value: ds.Dataset, file: Path, format: Format, rows: int) -> Summary:
        """Return the summary, from the file."""
        written = _open(file, format, None)
        return _summary(written.count_rows(), written.schema, written.head(rows) if rows else None)


class TableHandler(Handler):
    """``pyarrow.Table``."""

    name = "pyarrow.Table"

    def dump(self, value: pa.Table, file: Path, format: Format) -> None:
        """Write the table."""
        if format == "parquet":
            require_own_names(value.column_names, format)
            pq.write_table(value, file)
        else:
            _write(value.schema, value.to_batches(), file, format)

    def load(self, file: Path, format: Format, columns: Sequence[str] | None) -> pa.Table:
        """Read the table."""
        return _open(file, format, columns, TABLE_BLOCK).to_table()

    def summarize(self, value: pa.Table, file: Path, format: Format, rows: int) -> Summary:
        """Return the summary."""
        return _summary(value.num_rows, value.schema, value.slice(0, rows) if rows else None)


def _open(file: Path, format: Format, columns: Sequence[str] | None, block: int = BLOCK) -> ds.Dataset:
    if format == "jsonl" and is_blank(file):
        return ds.dataset(pa.table({name: pa.nulls(0) for name in columns or ()}))
    formats = {
        "parquet": ds.ParquetFileFormat(default_fragment_scan_options=STREAMED),
        "csv": _csv(block),
        "jsonl": ds.JsonFileFormat(read_options=pa.json.ReadOptions(block_size=block)),
    }
    dataset = ds.dataset(file, format=formats[format])
    if format == "csv" and len(dataset.schema) == 1:
        # An empty line is a row whose value is missing.
        dataset = ds.dataset(file, format=_csv(block, ignore_empty_lines=False))
    wanted = require_columns(columns, dataset.schema.names)
    if wanted is None:
        return dataset
    return dataset.replace_schema(pa.schema([dataset.schema.field(name) for name in wanted]))


def _csv(block: int, **options: Any) -> ds.CsvFileFormat:
    # Only an empty field is missing: "NA", "null" and "" in quotes are text.
    values = pa.csv.ConvertOptions(null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False)
    return ds.CsvFileFormat(
        parse_options=pa.csv.ParseOptions(newlines_in_values=True, **options),
        default_fragment_scan_options=ds.CsvFragmentScanOptions(values, pa.csv.ReadOptions(block_size=block)),
    )


def _write(schema: pa.Schema, batches: Iterable[pa.RecordBatch], file: Path, format: Format) -> None:
    require_own_names(schema.names, format)
    if format == "jsonl":
        # The times of Python have no nanoseconds.
        exact = pa.schema([each.with_type(pa.string()) if each.type == pa.time64("ns") else each for each in schema])
        with file.open("w", encoding="utf-8") as lines:
            for batch in batches:
                lines.writelines(map(json_line, batch.cast(exact).to_pylist()))
        return
    writer = pq.ParquetWriter if format == "parquet" else pa.csv.CSVWriter
    with writer(file, schema) as opened:
        for batch in batches:
            opened.write_batch(batch)


def _summary(count: int, schema: pa.Schema, head: pa.Table | None) -> Summary:
    columns = tuple((field.name, str(field.type)) for field in schema)
    if head is None:
        return Summary(count, columns)
    rows = zip(*(column.to_pylist() for column in head.columns), strict=True)
    return Summary(count, columns, table(schema.names, rows))


HANDLERS: dict[str, Handler] = {handler.name: handler for handler in (DatasetHandler(), TableHandler())}
