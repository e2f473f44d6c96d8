"""The partitioned Parquet store: a local folder or any fsspec URL.

A partition is one file, `<asset>/sector=<slug>/month=<YYYY-MM>/part-0.parquet`, replaced as a whole: readers, also
after a power failure, see the old rows or the new ones. Files that are not rows are in `artifacts`, the meaning of rows
in `schemas`, the metadata of files in `partition_file`.
"""

import contextlib
import glob
import io
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any

import polars as pl

from quant_assets.errors import DatasetError, MissingPartitionError
from quant_assets.io.artifacts import WRITERS, ArtifactStore, FileState
from quant_assets.io.partition_file import PartitionWriter, Recorded, content_of, read_recorded
from quant_assets.partitions import describe, parse_key
from quant_assets.schemas import Column, Dataset
from quant_assets.settings.sectors import SECTORS

if TYPE_CHECKING:
    import pyarrow as pa

_PART = "part-0.parquet"
#: Number of partitions whose rows are gathered at a time, and largest number of files that wait for the disk.
_GATHERED, _MOST_BEGUN = 16, 32
_SECTOR_ORDER = {sector: position for position, sector in enumerate(SECTORS)}


class DatasetStore(ArtifactStore):
    """Partitions of datasets and artifacts under one folder or URL.

    Args:
        url: absolute local folder, or an fsspec URL such as `s3://bucket/prefix`.
        storage_options: passed to fsspec; credentials come from the environment.
        command: the shell command in errors about missing partitions.

    """

    def __init__(self, url: str, storage_options: Mapping[str, Any] | None = None, command: str = "quant run") -> None:
        super().__init__(url, storage_options)
        self._command = command
        #: By local file that was read or written: its state on disk, its metadata, and the columns with which it was
        #: compared.
        self._checked: dict[str, tuple[FileState, Recorded, Mapping[str, Column]]] = {}

    def path(self, dataset: Dataset, partition_key: str) -> str:
        """File of a partition."""
        return f"{self._root}/{dataset.name}/{dataset.grain.folder(partition_key)}/{_PART}"

    def existing(self, dataset: Dataset) -> set[str]:
        """Keys of the partitions that exist."""
        self._fs.invalidate_cache()
        root = glob.escape(f"{self._root}/{dataset.name}")
        return {dataset.grain.key_at(path) for path in self._fs.glob(f"{root}/{dataset.grain.folders}/{_PART}")}

    def missing(self, dataset: Dataset, keys: Iterable[str]) -> list[str]:
        """The keys whose partitions do not exist, in order."""
        wanted = sorted_keys(keys)
        if self.local:
            return [key for key in wanted if not os.path.exists(self.path(dataset, key))]
        existing = self.existing(dataset)
        return [key for key in wanted if key not in existing]

    def present(self, dataset: Dataset, keys: Iterable[str]) -> list[str]:
        """The keys in order of sector (GICS) and month.

        Raises:
            MissingPartitionError: partitions do not exist; names all of them.

        """
        wanted = sorted_keys(keys)
        absent = self.missing(dataset, wanted)
        if absent:
            raise MissingPartitionError(
                f"{len(absent)} of {len(wanted)} partitions of '{dataset.name}' are missing in {self.url}: "
                f"{describe(absent)}; materialise them first (web UI, or: {self._command} {_run_arguments(absent)})",
                partial(self.existing, dataset),
            )
        return wanted

    def read(
        self, dataset: Dataset, keys: Iterable[str], known_through: Callable[[str], date] | None = None
    ) -> pl.LazyFrame:
        """Partitions as one frame with `sector` (at sector grain) and `month`, in order of sector (GICS) and month.

        Args:
            dataset: the dataset.
            keys: partitions to read.
            known_through: first session, by key, through which the rows must be known; None for no condition.

        Raises:
            MissingPartitionError: partitions do not exist or were written too early; names all of them.
            DatasetError: a file cannot be read or was written with another schema; names the file.

        """
        return self.read_with_contents(dataset, keys, known_through)[0]

    def read_with_contents(
        self, dataset: Dataset, keys: Iterable[str], known_through: Callable[[str], date] | None = None
    ) -> tuple[pl.LazyFrame, dict[str, str | None]]:
        """The result of `read`, and the content hashes that the partitions' files record."""
        wanted = self.present(dataset, keys)
        if not wanted:
            return pl.LazyFrame(schema=dataset.loaded_schema), {}
        paths = [self.path(dataset, key) for key in wanted]
        sources: list[Any] = paths if self.local else [io.BytesIO(self._fs.cat_file(path)) for path in paths]
        recorded: dict[str, Recorded] = {}
        for key, path, source in zip(wanted, paths, sources, strict=True):
            recorded[key] = self._recorded(dataset, path, source)
            if not recorded[key].same_columns:
                sector, period = dataset.grain.parse(key)
                again = f"{f' --sector {sector}' if sector else ''} --from {period[:7]} --to {period[:7]}"
                raise DatasetError(
                    f"{path} was written with another schema than '{dataset.name}' has now; materialise it again "
                    f"({self._command}{again} --select {dataset.name})"
                )
        if known_through is not None:
            days = ((key, metadata.known_through) for key, metadata in recorded.items())
            early = {key: day for key, day in days if day is not None and day < known_through(key)}
            if early:
                first = next(iter(early))
                raise MissingPartitionError(
                    f"{len(early)} of {len(wanted)} partitions of '{dataset.name}' were written before all was known "
                    f"that is needed now: {describe(list(early))}; "
                    f"the first knows until {early[first]}, {known_through(first)} is needed; "
                    f"materialise them again (web UI, or: {self._command} {_run_arguments(list(early))})"
                )
        if self.local:
            hive = dict.fromkeys(dataset.grain.levels, pl.String())
            frame = pl.scan_parquet(paths, glob=False, hive_partitioning=True, hive_schema=hive)
        else:
            frames = []
            for key, source in zip(wanted, sources, strict=True):
                labels = {level: pl.lit(value) for level, value in dataset.grain.placed(key).items()}
                frames.append(pl.read_parquet(source).with_columns(**labels))
            frame = pl.concat(frames).lazy()
        return frame.select(list(dataset.loaded_schema)), {key: metadata.content for key, metadata in recorded.items()}

    def size(self, dataset: Dataset, keys: Iterable[str], artifacts: Iterable[str] = ()) -> int:
        """Bytes of partitions and of files below `artifacts/`."""
        paths = {*(self.path(dataset, key) for key in keys), *(f"{self._root}/artifacts/{each}" for each in artifacts)}
        found = {
            path: info["size"]
            for folder in (f"{self._root}/{dataset.name}", f"{self._root}/artifacts/{dataset.name}")
            for path, info in self._fs.find(folder, detail=True).items()
        }
        return sum(size for path, size in found.items() if path in paths)

    def remove(self, dataset: Dataset, keys: Iterable[str]) -> None:
        """Remove partitions that are there."""
        for key in keys:
            path = self.path(dataset, key)
            self._fs.rm_file(path)
            self._checked.pop(path, None)
            if self.local:
                with contextlib.suppress(OSError):  # another hand's file keeps the folder
                    os.rmdir(os.path.dirname(path))

    def known_through(self, dataset: Dataset, partition_key: str) -> date | None:
        """Last session whose data a partition uses, as `write` recorded it; None if it was not recorded.

        Raises:
            DatasetError: the file cannot be read; names it.

        """
        return self.recorded(dataset, partition_key).known_through

    def recorded(self, dataset: Dataset, partition_key: str) -> Recorded:
        """The metadata of a partition's file.

        Raises:
            DatasetError: the file cannot be read; names it.

        """
        path = self.path(dataset, partition_key)
        return self._recorded(dataset, path, path if self.local else io.BytesIO(self._fs.cat_file(path)))

    def content(self, dataset: Dataset, partition_key: str) -> str:
        """Hash of the columns and rows of a partition on disk; differs from the recorded one if the file was changed.

        The columns are the file's own: those of the dataset may have changed since, with the settings or the code.

        Raises:
            DatasetError: the file cannot be read; names it.

        """
        recorded, path = self.recorded(dataset, partition_key), self.path(dataset, partition_key)
        columns = repr(self.columns(dataset, partition_key)).encode()
        try:
            return content_of(columns, self._fs.cat_file(path), recorded.content)
        except OSError as error:
            raise _unreadable(path, error) from None

    def columns(self, dataset: Dataset, partition_key: str) -> pl.Schema:
        """The columns of a partition's file.

        Raises:
            DatasetError: the file cannot be read; names it.

        """
        path = self.path(dataset, partition_key)
        try:
            return pl.Schema(pl.read_parquet_schema(path if self.local else io.BytesIO(self._fs.cat_file(path))))
        except (pl.exceptions.PolarsError, OSError) as error:
            raise _unreadable(path, error) from None

    def write(
        self,
        dataset: Dataset,
        frame: pl.DataFrame,
        keys: Iterable[str],
        known_through: Callable[[str], date] | None = None,
        made_by: Callable[[str], str] | None = None,
    ) -> dict[str, int]:
        """Replace the partitions `keys` with the rows of `frame`; a partition without rows becomes an empty file.

        Args:
            dataset: the dataset.
            frame: rows with `sector` at sector grain.
            keys: partitions to replace.
            known_through: last session, by key, whose data the rows use. It is recorded in the file, to distinguish a
                month written before its end from a complete one.
            made_by: provenance of the rows, by key, which is recorded too.

        Returns:
            Number of rows by key.

        Raises:
            DatasetError: a column breaks the schema, a row is outside the keys, or a partition already uses later
                sessions; nothing has been written then.

        """
        wanted = sorted_keys(keys)
        rows = _Rows(dataset, frame, wanted)
        if known_through is not None:
            self.refuse_to_forget(dataset, wanted, known_through)
        writer, begun = PartitionWriter(dataset.schema, dataset.filtered), deque[Callable[[], None]]()
        # This thread computes and the others wait for the disk; threads that do both slow each other down.
        with ThreadPoolExecutor(WRITERS) as pool:
            for key, table in rows.tables():
                known = None if known_through is None else known_through(key)
                content, recorded = writer.written(table, known, None if made_by is None else made_by(key))
                path = self.path(dataset, key)
                state = pool.submit(self._begin(path, content))
                begun.append(partial(self._remember, dataset, path, recorded, state))
                if len(begun) > _MOST_BEGUN:
                    begun.popleft()()
            for finish in begun:
                finish()
        return rows.count

    def contents(self, dataset: Dataset, frame: pl.DataFrame, keys: Iterable[str]) -> dict[str, str]:
        """The content hashes that `write` would record for the partitions `keys`; nothing is written."""
        writer, rows = PartitionWriter(dataset.schema, dataset.filtered), _Rows(dataset, frame, sorted_keys(keys))
        return {key: writer.written(table, None, None)[1].content or "" for key, table in rows.tables()}

    def _remember(self, dataset: Dataset, path: str, recorded: Recorded, written: Future[FileState | None]) -> None:
        """Wait until a file has its final name, and remember its metadata."""
        state = written.result()
        if state is not None:
            self._checked[path] = (state, recorded, dataset.columns)

    def refuse_to_forget(self, dataset: Dataset, keys: Iterable[str], known_through: Callable[[str], date]) -> None:
        """Refuse to replace partitions that use later sessions than `known_through` gives.

        Raises:
            DatasetError: there is one; names it.

        """
        keys = sorted_keys(keys)
        missing = set(self.missing(dataset, keys))
        for key in keys:
            known = None if key in missing else self.known_through(dataset, key)
            if known is not None and known > known_through(key):
                raise DatasetError(
                    f"partition {key} of '{dataset.name}' takes account of {known}, "
                    f"and this run only of {known_through(key)}: rows would be lost; "
                    "set QUANT__STORAGE to another folder for a view of the past (QUANT__AS_OF)"
                )

    def refuse(self, dataset: Dataset, keys: Iterable[str]) -> None:
        """Rename partitions whose rows break the contract to `part-0.refused`, so that they are missing for readers."""
        for key in keys:
            path = self.path(dataset, key)
            self._fs.mv(path, path.removesuffix(".parquet") + ".refused")

    def _recorded(self, dataset: Dataset, path: str, source: Any) -> Recorded:
        """The metadata of a file, read again only if the file was replaced."""
        try:
            state = FileState.of(os.stat(path)) if self.local else None
            if state is not None and path in self._checked:
                before, metadata, columns = self._checked[path]
                if before == state and columns is dataset.columns:
                    return metadata
            with open(path, "rb") if self.local else contextlib.nullcontext(source) as file:
                metadata = read_recorded(file, dataset)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise _unreadable(path, error) from None
        if state is not None:
            self._checked[path] = (state, metadata, dataset.columns)
        return metadata


class _Rows:
    """The rows of a frame by partition.

    Args:
        dataset: dataset of the rows.
        frame: rows with `sector` at sector grain.
        wanted: keys of the partitions.

    Attributes:
        count: number of rows by key.

    Raises:
        DatasetError: a column breaks the schema, or a row is outside the partitions.

    """

    def __init__(self, dataset: Dataset, frame: pl.DataFrame, wanted: Sequence[str]) -> None:
        frame, day = dataset.conform(frame), pl.col(dataset.dated_by)
        undated = frame.filter(day.is_null())
        if len(undated):
            raise DatasetError(
                f"dataset '{dataset.name}': {len(undated)} rows have no {dataset.dated_by}, "
                f"first {undated.row(0, named=True)}"
            )
        # Grouped by the period's first day: building the key of every row would take longer than all the rest.
        period = day.dt.truncate(dataset.grain.period.every).alias("__period")
        placed = frame.lazy().select(*dataset.grain.head, dataset.dated_by).with_row_index()
        groups = placed.group_by(*dataset.grain.head, period, maintain_order=True).agg("index", day.first()).collect()
        keys = groups.select(dataset.grain.of_rows(dataset.dated_by)).to_series()
        indices: dict[str, pl.Series] = dict(zip(keys, groups["index"], strict=True))
        outside = [key for key in indices if key not in set(wanted)]
        if outside:
            first = frame.row(min(indices[key][0] for key in outside), named=True)
            raise DatasetError(
                f"dataset '{dataset.name}': {sum(len(indices[key]) for key in outside)} rows lie outside the run's "
                f"partitions {describe(wanted)}; the first is in {outside[0]}, ticker {first.get('ticker', '-')}, "
                f"{dataset.dated_by} {first[dataset.dated_by]}"
            )
        self._frame, self._indices = frame.select(list(dataset.schema)), indices
        self.count = {key: len(indices.get(key, ())) for key in wanted}

    def tables(self) -> "Iterator[tuple[str, pa.Table]]":
        """Yield the partitions' rows, in the order of the keys."""
        keys, none = list(self.count), pl.Series(dtype=pl.get_index_type())
        # Gathering the rows of several partitions costs little more than those of one; all of them together would be a
        # second copy of a large frame.
        for first in range(0, len(keys), _GATHERED):
            gathered = keys[first : first + _GATHERED]
            table = self._frame[pl.concat([self._indices.get(key, none) for key in gathered])].to_arrow()
            start = 0
            for key in gathered:
                yield key, table.slice(start, self.count[key])
                start += self.count[key]


def sorted_keys(keys: Iterable[str]) -> list[str]:
    """Distinct partition keys in order of sector (GICS) and month."""

    def order(key: str) -> tuple[int, str]:
        sector, month = parse_key(key)
        return (_SECTOR_ORDER[sector] if sector else -1, month)

    return sorted(set(keys), key=order)


def _unreadable(path: str, error: Exception) -> DatasetError:
    return DatasetError(
        f"{path} cannot be read ({' '.join(str(error).split())[:120]}); delete it and materialise it again"
    )


def _run_arguments(absent: Sequence[str]) -> str:
    parsed = [parse_key(key) for key in absent]
    months = sorted(month for _, month in parsed)
    sectors = sorted({sector for sector, _ in parsed if sector}, key=lambda s: _SECTOR_ORDER[s])
    chosen = " ".join(f"--sector {sector}" for sector in sectors)
    return f"{chosen} --from {months[0]} --to {months[-1]}".strip()
