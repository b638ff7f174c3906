"""Data frames of pandas."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from dagster_resources.handlers import Format, Handler, Summary, require_columns, table


class PandasHandler(Handler):
    """``pandas.DataFrame``. Parquet keeps the index; CSV and JSON lines have no place for one."""

    name = "pandas.DataFrame"

    def dump(self, value: pd.DataFrame, file: Path, format: Format) -> None:
        """Write the data frame."""
        if format == "parquet":
            value.to_parquet(file)
            return
        if not isinstance(value.index, pd.RangeIndex):
            raise TypeError(f"{format} has no place for the index of the data frame; call reset_index() first")
        if format == "csv":
            value.to_csv(file, index=False)
        else:
            value.to_json(file, orient="records", lines=True, date_format="iso")

    def load(self, file: Path, format: Format, columns: Sequence[str] | None) -> pd.DataFrame:
        """Read the data frame."""
        if format == "parquet":
            if columns is not None:
                import pyarrow.parquet as pq

                columns = require_columns(columns, pq.read_schema(file).names)
            return pd.read_parquet(file, columns=columns)
        if format == "csv":
            # Only an empty field is missing: "NA" and "null" are text.
            frame = pd.read_csv(file, keep_default_na=False, na_values=[""])
        else:
            # pandas.read_json turns text into numbers, and columns with names such as "date" into times.
            with file.open(encoding="utf-8") as lines:
                frame = pd.DataFrame([json.loads(line) for line in lines if line.strip()])
        wanted = require_columns(columns, frame.columns)
        return frame if wanted is None else frame[wanted]

    def summarize(self, value: pd.DataFrame, file: Path, format: Format, rows: int) -> Summary:
        """Return the summary."""
        return Summary(
            len(value),
            tuple((str(name), str(type_)) for name, type_ in value.dtypes.items()),
            table(map(str, value.columns), value.head(rows).itertuples(index=False, name=None)) if rows else "",
        )


HANDLERS = {PandasHandler.name: PandasHandler()}
