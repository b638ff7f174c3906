"""Data frames of pandas."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import pandas as pd

from dagster_resources.handlers import Format, Handler, Summary, json_line, require_columns, require_own_names, table

ROWS_AT_ONCE = 10_000
"""The number of rows that are written as JSON at once."""


class PandasHandler(Handler):
    """``pandas.DataFrame``. Parquet keeps the index; CSV and JSON lines have no place for one."""

    name = "pandas.DataFrame"

    def dump(self, value: pd.DataFrame, file: Path, format: Format) -> None:
        """Write the data frame."""
        require_own_names(value.columns, format)
        if format == "parquet":
            value.to_parquet(file)
            return
        if value.index.name is not None or not value.index.equals(pd.RangeIndex(len(value))):
            raise TypeError(f"{format} has no place for the index of the data frame; call reset_index() first")
        if isinstance(value.columns, pd.MultiIndex):
            raise TypeError(f"{format} has no place for column names of several levels; join them first")
        if format == "csv":
            for name, column in value.items():
                if pd.api.types.infer_dtype(column, skipna=True) == "bytes":
                    raise TypeError(f"csv has no place for the bytes of column {name!r}; decode them first")
            # With this end of a line, a value that has only one of its two characters is quoted, too.
            value.to_csv(file, index=False, lineterminator="\r\n")
            return
        names = list(map(str, value.columns))
        with file.open("w", encoding="utf-8") as lines:
            # pandas.DataFrame.to_json rounds numbers and times.
            for start in range(0, len(value), ROWS_AT_ONCE):
                part = value.iloc[start : start + ROWS_AT_ONCE]
                plain = part.astype(object).where(part.notna(), None)
                rows = plain.itertuples(index=False, name=None)
                lines.writelines(json_line(dict(zip(names, row, strict=True))) for row in rows)

    def load(self, file: Path, format: Format, columns: Sequence[str] | None) -> pd.DataFrame:
        """Read the data frame."""
        if format == "parquet":
            if columns is not None:
                import pyarrow.parquet as pq

                columns = require_columns(columns, pq.read_schema(file).names)
            return pd.read_parquet(file, columns=columns)
        if format == "csv":
            with file.open("rb") as opened:
                frame = read_csv(opened)
        else:
            with file.open("rb") as opened:
                frame = read_json_lines(opened)
            if frame.empty and not len(frame.columns):
                return pd.DataFrame(columns=columns)
        wanted = require_columns(columns, frame.columns)
        return frame if wanted is None else frame[wanted]

    def summarize(self, value: pd.DataFrame, file: Path, format: Format, rows: int) -> Summary:
        """Return the summary."""
        return Summary(
            len(value),
            tuple((str(name), str(type_)) for name, type_ in value.dtypes.items()),
            table(map(str, value.columns), value.head(rows).itertuples(index=False, name=None)) if rows else "",
        )


def read_csv(file: IO[bytes]) -> pd.DataFrame:
    """Return a CSV as a data frame. Only an empty field is missing: "NA" and "null" are text.

    Args:
        file: the file; it must be seekable.
    """
    start = file.tell()
    columns = pd.read_csv(file, nrows=0).columns
    file.seek(start)
    # With one column, an empty line is a row whose value is missing.
    return pd.read_csv(file, keep_default_na=False, na_values=[""], skip_blank_lines=len(columns) > 1)


def read_json_lines(file: IO[bytes]) -> pd.DataFrame:
    """Return JSON lines as a data frame.

    `pandas.read_json` turns text into numbers, and columns with names such as "date" into times.

    Args:
        file: the file.
    """
    return pd.DataFrame([json.loads(line) for line in file if line.strip()])


HANDLERS = {PandasHandler.name: PandasHandler()}
