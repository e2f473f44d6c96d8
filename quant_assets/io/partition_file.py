"""The file of one partition: rows as Parquet, and what it says of itself as metadata. Where files lie is elsewhere."""

import hashlib
import io
from collections.abc import Mapping
from datetime import date
from functools import cache
from typing import Any, NamedTuple

import polars as pl

from quant_assets.schemas import Dataset

_KNOWN_THROUGH = "known_through"
_CONTENT = "content"
_MADE_BY = "made_by"
_SCHEMA = "ARROW:schema"  # where Arrow's writers keep the schema as text


class Recorded(NamedTuple):
    """What the file of a partition says of itself.

    Attributes:
        known_through: last session that its rows take account of; None where it was not told.
        same_columns: whether it was written with the columns that the dataset has now.
        content: hash of columns and rows as they were written; None in a file that another program wrote.
        made_by: what the rows follow from, as `provenance` has written it; None where it was not told.

    """

    known_through: date | None
    same_columns: bool
    content: str | None = None
    made_by: str | None = None


def read_recorded(file: Any, dataset: Dataset) -> Recorded:
    """What a file, open for reading, says of itself."""
    recorded = pl.read_parquet_metadata(file)
    file.seek(0)
    same = recorded.get(_SCHEMA) == _recorded_schema(tuple(dataset.schema.items()))
    if not same:  # another writer's text; reading the schema takes three times as long as reading the metadata
        same = _same_schema(pl.read_parquet_schema(file), dataset)
    file.seek(0)
    known = date.fromisoformat(recorded[_KNOWN_THROUGH]) if recorded.get(_KNOWN_THROUGH) else None
    return Recorded(known, same, recorded.get(_CONTENT), recorded.get(_MADE_BY))


def written(rows: pl.DataFrame, columns: bytes, known: date | None, made_by: str | None) -> tuple[bytes, Recorded]:
    """Content of the file of a partition, and what it records; `columns` are the schema's, as text."""
    metadata = ({} if known is None else {_KNOWN_THROUGH: known.isoformat()}) | (
        {} if made_by is None else {_MADE_BY: made_by}
    )
    file, content = _parquet(rows, columns, metadata)
    return file, Recorded(known, True, content, made_by)


def content_of(columns: bytes, file: bytes) -> str:
    """Hash of columns and rows of a file: its footer, whose length stands before the last four bytes, is left out."""
    return _hash_of(columns, file[: len(file) - 8 - int.from_bytes(file[-8:-4], "little")])


def _same_schema(found: Mapping[str, Any], dataset: Dataset) -> bool:
    return list(found.items()) == list(dataset.schema.items())  # the order too: files are read side by side


def _hash_of(columns: bytes, rows: bytes) -> str:
    """Hash of columns and rows as they are written.

    Of the file rather than of the values: it is there already, has no bits where a value is null, and is a fifth as
    long. The same rows give the same hash on every machine; a new version of Arrow may write them otherwise.
    """
    made = hashlib.blake2b(columns, digest_size=16)
    made.update(rows)
    return made.hexdigest()


@cache
def _recorded_schema(columns: tuple[tuple[str, Any], ...]) -> str | None:
    """The text by which a file that is written now records these columns."""
    return pl.read_parquet_metadata(io.BytesIO(_parquet(pl.DataFrame(schema=pl.Schema(columns)), b"", {})[0])).get(
        _SCHEMA
    )


def _parquet(rows: pl.DataFrame, columns: bytes, metadata: Mapping[str, str]) -> tuple[bytes, str]:
    """Content of a file that records the metadata and the hash of its rows, and that hash.

    Arrow's writer takes half of Polars' time for files as wide and short as these, and lets the hash follow the rows.
    """
    import pyarrow.parquet as pq

    table, file = rows.to_arrow(), io.BytesIO()
    texts = [name for name, dtype in rows.schema.items() if dtype == pl.String]
    with pq.ParquetWriter(file, table.schema, compression="lz4", use_dictionary=texts or False) as writer:
        writer.write_table(table)
        content = _hash_of(columns, file.getvalue())  # the footer is still to come
        writer.add_key_value_metadata({_CONTENT: content, **metadata})
    return file.getvalue(), content
