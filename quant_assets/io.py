"""The partitioned Parquet store and the Dagster IO manager over it: a local folder or any fsspec URL.

A partition is one file, `<asset>/sector=<slug>/month=<YYYY-MM>/part-0.parquet`, replaced as a whole: a reader, or a
machine that lost power, sees the old rows or the new ones. Files that are not rows (models, reports) stand under
`artifacts/` and are named by a row, which is written after them. What the rows mean is in `schemas`.
"""

import contextlib
import glob
import hashlib
import io
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import dagster as dg
import fsspec
import polars as pl
from dagster._core.definitions.data_version import DATA_VERSION_TAG
from fsspec.implementations.local import LocalFileSystem

from quant_assets.errors import DatasetError, MissingPartitionError
from quant_assets.partitions import describe, month_of, parse_key
from quant_assets.schemas import Column, Dataset
from quant_assets.settings import SECTORS

_PART = "part-0.parquet"
_KNOWN_THROUGH = "known_through"
_CONTENT = "content"
_MADE_BY = "made_by"
_SCHEMA = "ARROW:schema"  # where Arrow's writers keep the schema as text
_STALE_SECONDS = 3600
_WRITERS = 8  # the disk flushes the files of several writers together: 0.5 instead of 5 ms each
_State = tuple[int, int, int]  # inode, time of change in nanoseconds, size: a file that was replaced has another
_SECTOR_ORDER = {sector: position for position, sector in enumerate(SECTORS)}


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


class DatasetStore:
    """Partitions of datasets under one folder or URL.

    Args:
        url: absolute local folder, or an fsspec URL such as `s3://bucket/prefix`.
        storage_options: handed to fsspec; credentials come from the environment.
        command: the shell command that an error about missing partitions names.

    """

    def __init__(self, url: str, storage_options: Mapping[str, Any] | None = None, command: str = "quant run") -> None:
        self.url = url.rstrip("/")
        self._command = command
        self._fs, self._root = fsspec.core.url_to_fs(self.url, **dict(storage_options or {}))
        self.local = isinstance(self._fs, LocalFileSystem)
        #: Of each local file that was read or written: its state on disk, what it records, and the columns that it was held against.
        self._checked: dict[str, tuple[_State, Recorded, Mapping[str, Column]]] = {}

    def path(self, dataset: Dataset, partition_key: str) -> str:
        """File of a partition."""
        sector, month = parse_key(partition_key)
        folder = f"{dataset.name}/month={month}" if sector is None else f"{dataset.name}/sector={sector}/month={month}"
        return f"{self._root}/{folder}/{_PART}"

    def existing(self, dataset: Dataset) -> set[str]:
        """Keys of the partitions that have been written."""
        self._fs.invalidate_cache()
        root = glob.escape(f"{self._root}/{dataset.name}")
        found = self._fs.glob(f"{root}/{'sector=*/' if dataset.grain == 'sector' else ''}month=*/{_PART}")
        keys = set()
        for path in found:
            levels = dict(part.split("=", 1) for part in path.split("/") if "=" in part)
            keys.add(f"{levels['month']}|{levels['sector']}" if dataset.grain == "sector" else levels["month"])
        return keys

    def missing(self, dataset: Dataset, keys: Iterable[str]) -> list[str]:
        """Those of the keys that have not been written, in order."""
        wanted = sorted_keys(keys)
        if self.local:
            return [key for key in wanted if not os.path.exists(self.path(dataset, key))]
        existing = self.existing(dataset)
        return [key for key in wanted if key not in existing]

    def present(self, dataset: Dataset, keys: Iterable[str]) -> list[str]:
        """The keys in order of sector (GICS) and month.

        Raises:
            MissingPartitionError: a partition has not been written; names all of them.

        """
        wanted = sorted_keys(keys)
        absent = self.missing(dataset, wanted)
        if absent:
            raise MissingPartitionError(
                f"{len(absent)} of {len(wanted)} partitions of '{dataset.name}' are missing in {self.url}: {describe(absent)}; "
                f"materialise them first (web UI, or: {self._command} {_run_arguments(absent)})"
            )
        return wanted

    def read(self, dataset: Dataset, keys: Iterable[str], known_through: Callable[[str], date] | None = None) -> pl.LazyFrame:
        """Partitions as one frame with `sector` (at sector grain) and `month`, in order of sector (GICS) and month.

        Args:
            dataset: what is read.
            keys: partitions to read.
            known_through: gives for a key the session that its rows must take account of at least; None where any will do.

        Raises:
            MissingPartitionError: a partition has not been written, or was written too early; names all of them.
            DatasetError: a file cannot be read or was written with another schema; names the file.

        """
        return self.read_with_contents(dataset, keys, known_through)[0]

    def read_with_contents(
        self, dataset: Dataset, keys: Iterable[str], known_through: Callable[[str], date] | None = None
    ) -> tuple[pl.LazyFrame, dict[str, str | None]]:
        """What `read` gives, and the hash of the rows of each partition as its file records it."""
        wanted = self.present(dataset, keys)
        if not wanted:
            return pl.LazyFrame(schema=dataset.loaded_schema), {}
        paths = [self.path(dataset, key) for key in wanted]
        sources: list[Any] = paths if self.local else [io.BytesIO(self._fs.cat_file(path)) for path in paths]
        recorded: dict[str, Recorded] = {}
        for key, path, source in zip(wanted, paths, sources, strict=True):
            recorded[key] = self._recorded(dataset, path, source)
            if not recorded[key].same_columns:
                raise DatasetError(f"{path} was written with another schema than '{dataset.name}' has now; materialise it again")
        if known_through is not None:
            days = ((key, each.known_through) for key, each in recorded.items())
            early = {key: day for key, day in days if day is not None and day < known_through(key)}
            if early:
                first = next(iter(early))
                raise MissingPartitionError(
                    f"{len(early)} of {len(wanted)} partitions of '{dataset.name}' were written before all was known that is needed now: "
                    f"{describe(list(early))}; the first knows until {early[first]}, {known_through(first)} is needed; "
                    f"materialise them again (web UI, or: {self._command} {_run_arguments(list(early))})"
                )
        if self.local:
            hive = dict.fromkeys(("sector", "month") if dataset.grain == "sector" else ("month",), pl.String())
            frame = pl.scan_parquet(paths, glob=False, hive_partitioning=True, hive_schema=hive)
        else:
            frames = []
            for key, source in zip(wanted, sources, strict=True):
                sector, month = parse_key(key)
                labels = {"month": pl.lit(month)} if sector is None else {"sector": pl.lit(sector), "month": pl.lit(month)}
                frames.append(pl.read_parquet(source).with_columns(**labels))
            frame = pl.concat(frames).lazy()
        return frame.select(list(dataset.loaded_schema)), {key: each.content for key, each in recorded.items()}

    def known_through(self, dataset: Dataset, partition_key: str) -> date | None:
        """Last session that a partition takes account of, as `write` recorded it; None where it was not told.

        Raises:
            DatasetError: the file cannot be read; names it.

        """
        return self.recorded(dataset, partition_key).known_through

    def recorded(self, dataset: Dataset, partition_key: str) -> Recorded:
        """What the file of a partition says of itself.

        Raises:
            DatasetError: the file cannot be read; names it.

        """
        path = self.path(dataset, partition_key)
        return self._recorded(dataset, path, path if self.local else io.BytesIO(self._fs.cat_file(path)))

    def content(self, dataset: Dataset, partition_key: str) -> str:
        """Hash of the columns and rows that a partition has on disk: the one that it records, unless another hand has changed it.

        Raises:
            DatasetError: the file cannot be read; names it.

        """
        path = self.path(dataset, partition_key)
        try:
            return _content(repr(dataset.schema).encode(), self._fs.cat_file(path))
        except OSError as error:
            raise _unreadable(path, error) from None

    def write(
        self,
        dataset: Dataset,
        frame: pl.DataFrame,
        keys: Iterable[str],
        known_through: Callable[[str], date] | None = None,
        made_by: Callable[[str], str] | None = None,
    ) -> dict[str, int]:
        """Replace the partitions `keys` by the rows of `frame`; a partition without rows becomes an empty file.

        Args:
            dataset: what is written.
            frame: rows with `sector` at sector grain.
            keys: partitions to replace.
            known_through: gives for a key the last session that its rows take account of. It is recorded in the file, so that a
                month written before it was over is told from a finished one.
            made_by: gives for a key what its rows follow from, which is recorded too.

        Returns:
            Rows of each key.

        Raises:
            DatasetError: a column breaks the schema, a row lies outside the keys, or a partition already takes account of later
                sessions; nothing has been written then.

        """
        wanted = sorted_keys(keys)
        frame = dataset.conform(frame)
        undated = frame.filter(pl.col(dataset.dated_by).is_null())
        if len(undated):
            first = undated.row(0, named=True)
            raise DatasetError(f"dataset '{dataset.name}': {len(undated)} rows have no {dataset.dated_by}, first {first}")
        month = pl.col(dataset.dated_by).dt.strftime("%Y-%m")
        label = pl.format("{}|{}", month, "sector") if dataset.grain == "sector" else month
        frame = frame.with_columns(__key=label)
        outside = frame.filter(~pl.col("__key").is_in(wanted))
        if len(outside):
            first = outside.row(0, named=True)
            raise DatasetError(
                f"dataset '{dataset.name}': {len(outside)} rows lie outside the run's partitions {describe(wanted)}; the first is in "
                f"{first['__key']}, ticker {first.get('ticker', '-')}, {dataset.dated_by} {first[dataset.dated_by]}"
            )
        if known_through is not None:
            self._keep_what_knows_more(dataset, wanted, known_through)
        grouped = frame.select("__key").with_row_index().group_by("__key", maintain_order=True).agg("index")
        rows_of = dict(zip(grouped["__key"], grouped["index"], strict=True))
        empty, columns = pl.DataFrame(schema=dataset.schema), repr(dataset.schema).encode()

        def write_one(key: str) -> int:
            path = self.path(dataset, key)
            # One partition's rows at a time: all of them together would be a second copy of a frame that may be large.
            rows = frame[rows_of[key]].select(list(dataset.schema)) if key in rows_of else empty
            known = None if known_through is None else known_through(key)
            told = None if made_by is None else made_by(key)
            metadata = ({} if known is None else {_KNOWN_THROUGH: known.isoformat()}) | ({} if told is None else {_MADE_BY: told})
            written, content = _parquet(rows, columns, metadata)
            state = self._replace(path, written)
            if state is not None:
                self._checked[path] = (state, Recorded(known, True, content, told), dataset.columns)
            return len(rows)

        with ThreadPoolExecutor(_WRITERS) as pool:
            return dict(zip(wanted, pool.map(write_one, wanted), strict=True))

    def _keep_what_knows_more(self, dataset: Dataset, keys: Sequence[str], known_through: Callable[[str], date]) -> None:
        gone = set(self.missing(dataset, keys))
        for key in keys:
            known = None if key in gone else self.known_through(dataset, key)
            if known is not None and known > known_through(key):
                raise DatasetError(
                    f"partition {key} of '{dataset.name}' takes account of {known}, and this run only of {known_through(key)}: "
                    "rows would be lost; set QUANT__STORAGE to another folder for a view of the past (QUANT__AS_OF)"
                )

    def refuse(self, dataset: Dataset, keys: Iterable[str]) -> None:
        """Set partitions aside whose rows break the contract: readers find them missing, a person finds `part-0.refused`."""
        for key in keys:
            path = self.path(dataset, key)
            self._fs.mv(path, path.removesuffix(".parquet") + ".refused")

    def write_artifact(self, name: str, content: bytes) -> None:
        """Replace the file `artifacts/<name>`."""
        self.write_file(f"artifacts/{name}", content)

    def write_artifacts(self, contents: Mapping[str, bytes]) -> None:
        """Replace several of them, `contents` by name, side by side."""
        with ThreadPoolExecutor(_WRITERS) as pool:
            list(pool.map(self.write_artifact, contents, contents.values()))

    def artifacts(self, folder: str) -> list[str]:
        """Names of the files below `artifacts/<folder>`, sorted; none where it is not there."""
        self._fs.invalidate_cache()
        root = f"{self._root}/artifacts/"
        found = [path[len(root) :] for path in self._fs.find(f"{root}{folder}")]
        return sorted(name for name in found if not name.rpartition("/")[2].startswith("."))

    def read_artifacts(self, names: Sequence[str]) -> list[bytes]:
        """Content of several, side by side where each is a request.

        Raises:
            DatasetError: one is not there.

        """
        if self.local:
            return [self.read_artifact(name) for name in names]
        with ThreadPoolExecutor(_WRITERS) as pool:
            return list(pool.map(self.read_artifact, names))

    def write_file(self, name: str, content: bytes) -> None:
        """Replace a file below the store's folder as a whole."""
        self._replace(f"{self._root}/{name}", content)

    def read_artifact(self, name: str) -> bytes:
        """Content of the file `artifacts/<name>`.

        Raises:
            DatasetError: it is not there.

        """
        try:
            content: bytes = self._fs.cat_file(f"{self._root}/artifacts/{name}")
        except FileNotFoundError:
            raise DatasetError(f"{self.artifact_url(name)} is missing; materialise the partition that names it again") from None
        return content

    def has_artifact(self, name: str) -> bool:
        """Whether the file `artifacts/<name>` is there."""
        return bool(self._fs.exists(f"{self._root}/artifacts/{name}"))

    def artifact_url(self, name: str) -> str:
        """Where a person finds `artifacts/<name>`."""
        return f"{self.url}/artifacts/{name}"

    def _recorded(self, dataset: Dataset, path: str, source: Any) -> Recorded:
        """What a file records; it is looked into once, as long as it is the same file."""
        try:
            state = _state(os.stat(path)) if self.local else None
            if state is not None and path in self._checked:
                before, found, columns = self._checked[path]
                if before == state and columns is dataset.columns:
                    return found
            with open(path, "rb") if self.local else contextlib.nullcontext(source) as file:
                recorded = pl.read_parquet_metadata(file)
                file.seek(0)
                same = recorded.get(_SCHEMA) == _recorded_schema(tuple(dataset.schema.items()))
                if not same:  # another writer's text; reading the schema takes three times as long as reading the metadata
                    same = _same_schema(pl.read_parquet_schema(file), dataset)
                file.seek(0)
        except (pl.exceptions.PolarsError, OSError) as error:
            raise _unreadable(path, error) from None
        known = date.fromisoformat(recorded[_KNOWN_THROUGH]) if recorded.get(_KNOWN_THROUGH) else None
        found = Recorded(known, same, recorded.get(_CONTENT), recorded.get(_MADE_BY))
        if state is not None:
            self._checked[path] = (state, found, dataset.columns)
        return found

    def _replace(self, path: str, content: bytes) -> _State | None:
        """Replace a file as a whole; its state on disk where it is local."""
        if not self.local:
            self._fs.pipe_file(path, content)  # an object store's put is atomic
            return None
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        for name in os.listdir(target.parent):
            if not (name.startswith(".") and name.endswith(".tmp")):
                continue
            stale = target.parent / name
            with contextlib.suppress(FileNotFoundError):  # another writer of the partition may be quicker
                if stale.stat().st_mtime < time.time() - _STALE_SECONDS:
                    stale.unlink()  # left by a killed run; a younger one may be another run's
        descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
                os.fchmod(file.fileno(), 0o644)
                state = _state(os.fstat(file.fileno()))
            os.replace(temporary, target)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)  # the rename itself must survive a power cut
        finally:
            os.close(folder)
        return state


class ParquetIOManager(dg.IOManager):
    """Writes a run's output split by partition and loads any set of partitions as one LazyFrame.

    An input's metadata may say `{"absent": "skip"}`: partitions that do not exist are left out (the total portfolio over
    the sectors that are there), `{"absent": "before"}`: so are those before the run's months (the history of a report), or
    `{"absent": "future"}`: so are those of months that have not begun at the last closed session.
    """

    def __init__(
        self,
        store: DatasetStore,
        datasets: Mapping[str, Dataset],
        last_session: Callable[[], date],
        known_through: Callable[[str, int], date],
        recorder: "Recorder | None" = None,
        on_written: Callable[[str, int], None] | None = None,
    ) -> None:
        self.store = store
        self._datasets = datasets
        self._last_session = last_session
        self._known_through = known_through
        #: Tells what partitions follow from; None where nothing is recorded.
        self.recorder = recorder
        self._on_written = on_written
        #: What the step in hand has read: the hash of the rows of each partition, by dataset.
        self._step: tuple[str, str] | None = None
        self._contents: dict[str, dict[str, str | None]] = {}

    def handle_output(self, context: dg.OutputContext, obj: pl.DataFrame | pl.LazyFrame) -> None:
        """Write the partitions of the run and record the rows of each."""
        dataset = self._datasets[context.asset_key.path[-1]]
        frame = obj.collect() if isinstance(obj, pl.LazyFrame) else obj
        matures = int((context.definition_metadata or {}).get("matures_months", 0))
        keys = context.asset_partition_keys
        made_by = None if self.recorder is None else self.recorder.made_by(dataset.name, self._read_by(context))
        before = self._contents_of(dataset, keys)
        rows = self.store.write(dataset, frame, keys, lambda key: self._known_through(parse_key(key)[1], matures), made_by)
        context.step_context.set_data_version(context.asset_key, self._data_version(context, before, self._contents_of(dataset, keys)))
        context.add_output_metadata({"rows_of_run": sum(rows.values()), "partitions_of_run": len(rows)})
        if self._on_written is not None:
            self._on_written(dataset.name, len(rows))

    def load_input(self, context: dg.InputContext) -> pl.LazyFrame:
        """Load the mapped partitions."""
        dataset = self._datasets[context.asset_key.path[-1]]
        keys: Sequence[str] = context.asset_partition_keys if context.has_asset_partitions else []
        absent = (context.definition_metadata or {}).get("absent")
        last = max([parse_key(context.step_context.partition_key_range.end)[1], *(parse_key(key)[1] for key in keys)])
        if absent == "skip":
            gone = set(self.store.missing(dataset, keys))
            months = {parse_key(key)[1] for key in keys} - {parse_key(key)[1] for key in keys if key not in gone}
            # A month without any sector stays among the keys: reading it raises the error that names it.
            keys = [key for key in keys if key not in gone or parse_key(key)[1] in months]
        elif absent is not None:
            if absent == "future":
                optional = [key for key in keys if parse_key(key)[1] > month_of(self._last_session())]
            else:
                first = parse_key(context.step_context.partition_key_range.start)[1]
                optional = [key for key in keys if parse_key(key)[1] < first]
            gone = set(self.store.missing(dataset, optional))
            keys = [key for key in keys if key not in gone]
        upstream = context.upstream_output
        matures = int((upstream.definition_metadata or {}).get("matures_months", 0)) if upstream is not None else 0

        def needed(key: str) -> date:
            # Of what matures, no more is needed than the run itself takes account of.
            return min(self._known_through(parse_key(key)[1], matures), self._known_through(last, 0))

        frame, contents = self.store.read_with_contents(dataset, keys, needed)
        self._read_by(context)[dataset.name] = contents
        return frame

    def _read_by(self, context: dg.InputContext | dg.OutputContext) -> dict[str, dict[str, str | None]]:
        step = (context.step_context.run_id, context.step_context.step.key)
        if step != self._step:
            self._step, self._contents = step, {}
        return self._contents

    def _contents_of(self, dataset: Dataset, keys: Sequence[str]) -> dict[str, str | None]:
        gone = set(self.store.missing(dataset, keys))
        return {key: None if key in gone else self.store.recorded(dataset, key).content for key in keys}

    def _data_version(self, context: dg.OutputContext, before: Mapping[str, str | None], after: Mapping[str, str | None]) -> dg.DataVersion:
        """Dagster's data version of the run's partitions, by which it tells what is downstream of a change.

        Dagster gives all partitions of a run the same one. So that rows which came out as they were do not count as new, a run
        that changes nothing keeps the version that they have.
        """
        if before == after:
            storage, tag = context.step_context.instance.event_log_storage, DATA_VERSION_TAG
            tags = storage.get_latest_tags_by_partition(
                context.asset_key, dg.DagsterEventType.ASSET_MATERIALIZATION, [tag], asset_partitions=list(after)
            )
            kept = {tags.get(key, {}).get(tag) for key in after}
            if len(kept) == 1 and (version := kept.pop()) is not None:
                return dg.DataVersion(version)
        whole = hashlib.blake2b("".join(f"{key}{content}" for key, content in after.items()).encode(), digest_size=16)
        return dg.DataVersion(whole.hexdigest())


class Recorder(Protocol):
    """Tells what a partition's rows follow from."""

    def made_by(self, name: str, contents: Mapping[str, Mapping[str, str | None]]) -> Callable[[str], str]:
        """The text to record for each partition of a run, from the hashes of the partitions that it has read."""


def sorted_keys(keys: Iterable[str]) -> list[str]:
    """Partition keys in order of sector (GICS) and month, each once."""

    def order(key: str) -> tuple[int, str]:
        sector, month = parse_key(key)
        return (_SECTOR_ORDER[sector] if sector else -1, month)

    return sorted(set(keys), key=order)


def _same_schema(found: Mapping[str, Any], dataset: Dataset) -> bool:
    return list(found.items()) == list(dataset.schema.items())  # the order too: files are read side by side


def _state(found: os.stat_result) -> _State:
    return found.st_ino, found.st_mtime_ns, found.st_size


def _content(columns: bytes, written: bytes) -> str:
    """Hash of columns and rows of a file: its footer, whose length stands before the last four bytes, is left out."""
    return _hash_of(columns, written[: len(written) - 8 - int.from_bytes(written[-8:-4], "little")])


def _hash_of(columns: bytes, rows: bytes) -> str:
    """Hash of columns and rows as they are written.

    Of the file rather than of the values: it is there already, has no bits where a value is null, and is a fifth as long. The same
    rows give the same hash on every machine; a new version of Arrow may write them otherwise.
    """
    made = hashlib.blake2b(columns, digest_size=16)
    made.update(rows)
    return made.hexdigest()


@cache
def _recorded_schema(columns: tuple[tuple[str, Any], ...]) -> str | None:
    """The text by which a file that is written now records these columns."""
    return pl.read_parquet_metadata(io.BytesIO(_parquet(pl.DataFrame(schema=pl.Schema(columns)), b"", {})[0])).get(_SCHEMA)


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


def _unreadable(path: str, error: Exception) -> DatasetError:
    return DatasetError(f"{path} cannot be read ({' '.join(str(error).split())[:120]}); delete it and materialise it again")


def _run_arguments(absent: Sequence[str]) -> str:
    parsed = [parse_key(key) for key in absent]
    months = sorted(month for _, month in parsed)
    sectors = sorted({sector for sector, _ in parsed if sector}, key=lambda s: _SECTOR_ORDER[s])
    chosen = " ".join(f"--sector {sector}" for sector in sectors)
    return f"{chosen} --from {months[0]} --to {months[-1]}".strip()
