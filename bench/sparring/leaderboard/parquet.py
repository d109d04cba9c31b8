"""table.csv with types: for pandas, polars or DuckDB."""

from __future__ import annotations

import io

from sparring.leaderboard.table import Board
from sparring.leaderboard.table_csv import table_csv


def parquet(board: Board) -> bytes:
    """The lines and columns of table.csv; counts are integers, numbers are doubles, what is missing is null.

    Raises:
        ModuleNotFoundError: pyarrow is not installed.
    """
    import pyarrow.csv
    import pyarrow.parquet

    text = table_csv(board)
    read = pyarrow.csv.read_csv(
        io.BytesIO(text.encode()),
        convert_options=pyarrow.csv.ConvertOptions(strings_can_be_null=True, quoted_strings_can_be_null=False),
    )
    out = io.BytesIO()
    pyarrow.parquet.write_table(read, out)
    return out.getvalue()
