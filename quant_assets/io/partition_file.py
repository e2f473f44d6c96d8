"""The file of one partition: rows as Parquet, and its metadata."""

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
#: Hexadecimal digits of a hash of rows, and of the BLAKE2 hash in older files.
_DIGITS, _BLAKE2_DIGITS = 40, 32
_SCHEMA = "ARROW:schema"  # where Arrow's writers keep the schema as text


class Recorded(NamedTuple):
    """The metadata of a partition's file.

    Attributes:
        known_through: last session whose data the rows use; None if not recorded.
        same_columns: whether it was written with the dataset's current columns.
        content: hash of columns and rows as written; None in a file that another program wrote.
        made_by: provenance of the rows, written by `provenance`; None if not recorded.

    """

    known_through: date | None
    same_columns: bool
    content: str | None = None
    made_by: str | None = None


def read_recorded(file: Any, dataset: Dataset) -> Recorded:
    """The metadata of a file that is open for reading."""
    recorded = pl.read_parquet_metadata(file)
    file.seek(0)
    same = recorded.get(_SCHEMA) == _recorded_schema(tuple(dataset.schema.items()))
    if not same:  # another writer's text: compare the schema, which takes three times as long
        same = _same_schema(pl.read_parquet_schema(file), dataset)
    file.seek(0)
    known = date.fromisoformat(recorded[_KNOWN_THROUGH]) if recorded.get(_KNOWN_THROUGH) else None
    return Recorded(known, same, recorded.get(_CONTENT), recorded.get(_MADE_BY))


def content_of(columns: bytes, file: bytes, recorded: str | None) -> str:
    """Hash of columns and rows of a file, with the algorithm of the recorded hash.

    Without the footer, whose length is in the four bytes before the last four.
    """
    rows = memoryview(file)[: len(file) - 8 - int.from_bytes(file[-8:-4], "little")]
    if len(recorded or "") != _BLAKE2_DIGITS:
        return _hash_of(columns, rows)
    digest = hashlib.blake2b(columns, digest_size=_BLAKE2_DIGITS // 2)
    digest.update(rows)
    return digest.hexdigest()


def _same_schema(schema: Mapping[str, Any], dataset: Dataset) -> bool:
    return list(schema.items()) == list(dataset.schema.items())  # the order too: files are concatenated


def _hash_of(columns: bytes, rows: bytes | memoryview) -> str:
    """Hash of columns and rows as written.

    Of the file rather than of the values: it already exists, has no bits for null values, and is a fifth as long. The
    same rows have the same hash on every machine; a new version of Arrow may write them differently. SHA-256, with its
    processor instructions, takes half of BLAKE2's time.
    """
    digest = hashlib.sha256(columns)
    digest.update(rows)
    return digest.hexdigest()[:_DIGITS]


@cache
def _recorded_schema(columns: tuple[tuple[str, Any], ...]) -> str | None:
    """The text with which a newly written file records these columns."""
    schema = pl.Schema(columns)
    file, _ = PartitionWriter(schema, ()).written(pl.DataFrame(schema=schema).to_arrow(), None, None)
    return pl.read_parquet_metadata(io.BytesIO(file)).get(_SCHEMA)


class PartitionWriter:
    """Creates the files of a dataset's partitions, one after the other.

    Arrow's writer takes half of Polars' time for such wide and short files, and can write the hash after the rows.
    Statistics, with which readers skip rows by a filter, cost a fifth of the time if all columns have them.

    Args:
        schema: columns of the files.
        filtered: columns by which readers filter.

    """

    def __init__(self, schema: pl.Schema, filtered: Collection[str]) -> None:
        self._columns = repr(schema).encode()
        #: Reused for all files: allocating memory for a file of a megabyte takes half as long as writing it.
        self._file = io.BytesIO()
        self._options = {
            "compression": "lz4",
            "use_dictionary": [name for name, dtype in schema.items() if dtype == pl.String] or False,
            "write_statistics": [name for name in schema if name in filtered] or False,
            "write_batch_size": 1 << 20,  # rows: all of a partition at once
        }

    def written(self, rows: "pa.Table", known: date | None, made_by: str | None) -> tuple[bytes, Recorded]:
        """Content of the file of a partition, and its metadata."""
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
