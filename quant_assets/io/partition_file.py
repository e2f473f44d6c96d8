"""The file of one partition: rows as Parquet, and what it says of itself as metadata. Where files lie is elsewhere."""

import hashlib
import io
from collections.abc import Collection, Mapping
from datetime import date
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import polars as pl

from quant_assets.schemas import Dataset

if TYPE_CHECKING:
    import pyarrow as pa

_KNOWN_THROUGH = "known_through"
_CONTENT = "content"
_MADE_BY = "made_by"
#: Hexadecimal digits of a hash of rows, and of the kind that older files record.
_DIGITS, _BLAKE2_DIGITS = 40, 32
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


def content_of(columns: bytes, file: bytes, recorded: str | None) -> str:
    """Hash of columns and rows of a file, of the kind that it has recorded.

    The footer, whose length stands before the last four bytes, is left out.
    """
    rows = memoryview(file)[: len(file) - 8 - int.from_bytes(file[-8:-4], "little")]
    if len(recorded or "") != _BLAKE2_DIGITS:
        return _hash_of(columns, rows)
    made = hashlib.blake2b(columns, digest_size=_BLAKE2_DIGITS // 2)
    made.update(rows)
    return made.hexdigest()


def _same_schema(found: Mapping[str, Any], dataset: Dataset) -> bool:
    return list(found.items()) == list(dataset.schema.items())  # the order too: files are read side by side


def _hash_of(columns: bytes, rows: bytes | memoryview) -> str:
    """Hash of columns and rows as they are written.

    Of the file rather than of the values: it is there already, has no bits where a value is null, and is a fifth as
    long. The same rows give the same hash on every machine; a new version of Arrow may write them otherwise. SHA-256,
    which processors have instructions for, takes half of BLAKE2's time.
    """
    made = hashlib.sha256(columns)
    made.update(rows)
    return made.hexdigest()[:_DIGITS]


@cache
def _recorded_schema(columns: tuple[tuple[str, Any], ...]) -> str | None:
    """The text by which a file that is written now records these columns."""
    schema = pl.Schema(columns)
    file, _ = PartitionWriter(schema, ()).written(pl.DataFrame(schema=schema).to_arrow(), None, None)
    return pl.read_parquet_metadata(io.BytesIO(file)).get(_SCHEMA)


class PartitionWriter:
    """Makes the files of a dataset's partitions, one after the other.

    Arrow's writer takes half of Polars' time for files as wide and short as these, and lets the hash follow the rows.
    Statistics, by which a reader skips what a filter rules out, cost a fifth of the time where each column has them.

    Args:
        schema: columns of the files.
        filtered: those that readers filter by.

    """

    def __init__(self, schema: pl.Schema, filtered: Collection[str]) -> None:
        self._columns = repr(schema).encode()
        #: Used again for each file: fresh memory for a file of a megabyte takes half as long as writing it.
        self._file = io.BytesIO()
        self._options = {
            "compression": "lz4",
            "use_dictionary": [name for name, dtype in schema.items() if dtype == pl.String] or False,
            "write_statistics": [name for name in schema if name in filtered] or False,
            "write_batch_size": 1 << 20,  # rows: a partition's all at once
        }

    def written(self, rows: "pa.Table", known: date | None, made_by: str | None) -> tuple[bytes, Recorded]:
        """Content of the file of a partition, and what it records."""
        import pyarrow.parquet as pq

        file = self._file
        file.seek(0)
        with pq.ParquetWriter(file, rows.schema, **self._options) as writer:
            writer.write_table(rows)
            with file.getbuffer() as buffer, buffer[: file.tell()] as so_far:  # the footer is still to come
                content = _hash_of(self._columns, so_far)
            writer.add_key_value_metadata(
                {_CONTENT: content}
                | ({} if known is None else {_KNOWN_THROUGH: known.isoformat()})
                | ({} if made_by is None else {_MADE_BY: made_by})
            )
        with file.getbuffer() as buffer:
            return bytes(buffer[: file.tell()]), Recorded(known, True, content, made_by)
