"""Dagster's IO manager over the store: what a run computed, split by partition, and what it reads, as one frame."""

import contextlib
import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Protocol

import dagster as dg
import polars as pl

from quant_assets.dagster_internals import (
    instance_home,
    latest_data_versions,
    run_and_step,
    run_range,
    set_data_version,
)
from quant_assets.io.binding import bind
from quant_assets.io.blocks import Blocks
from quant_assets.io.ledger import unsaid
from quant_assets.io.store import DatasetStore
from quant_assets.partitions import month_of, parse_key
from quant_assets.schemas import Dataset

#: Metadata of every partition of a run: its rows and partitions in all, and those that are new or have other rows.
ROWS_OF_RUN, PARTITIONS_OF_RUN, PARTITIONS_CHANGED = "rows_of_run", "partitions_of_run", "partitions_of_run_changed"


class ParquetIOManager(dg.IOManager):
    """Writes a run's output split by partition and loads any set of partitions as one LazyFrame.

    An input's metadata may say `{"absent": "skip"}`: partitions that do not exist are left out (the total portfolio
    over the sectors that are there), `{"absent": "before"}`: so are those before the run's months (the history of a
    report), `{"absent": "carried"}`: of an asset's own months only those before the run's are loaded, as far as they
    are there, `{"absent": "future"}`: those of months are left out that have not begun at the last closed session, or
    `{"absent": "any"}` and `{"absent": "stored"}`: all are left out that do not exist; for the sake of the latter no
    run is made but of the run's own months.
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
        #: Homes of instances that keep the records of this storage.
        self._homes: set[Path] = set()
        #: What the step in hand has read: the hash of the rows of each partition, by dataset.
        self._step: tuple[str, str] | None = None
        self._contents: dict[str, dict[str, str | None]] = {}

    def handle_output(self, context: dg.OutputContext, obj: pl.DataFrame | pl.LazyFrame | Blocks) -> None:
        """Write the partitions of the run and record the rows of each; those of blocks one block after the other.

        Where a later block fails, those before it stay written.

        Raises:
            SettingsError: the run's instance keeps the records of another storage.

        """
        self._bind_instance(context)
        dataset = self._datasets[context.asset_key.path[-1]]
        matures = int((context.definition_metadata or {}).get("matures_months", 0))
        keys = context.asset_partition_keys
        read = self._read_by(context)

        def known(key: str) -> date:
            return self._known_through(parse_key(key)[1], matures)

        if isinstance(obj, Blocks):
            self.store.refuse_to_forget(dataset, keys, known)
            blocks = obj.parts
        else:
            frame = obj.collect() if isinstance(obj, pl.LazyFrame) else obj
            if dataset.name in read:  # a month follows from the month before, also where this run writes both
                read[dataset.name] |= self.store.contents(dataset, frame, keys)
            blocks = [(unsaid(self.store, dataset, frame, keys) if dataset.said else keys, frame)]
        made_by = None if self.recorder is None else self.recorder.made_by(dataset.name, read)
        before, rows = self._contents_of(dataset, keys), dict[str, int]()
        for part, frame in blocks:
            if dataset.said:
                frame = frame.filter(dataset.grain.of_rows(dataset.dated_by).is_in(part))
            rows |= self.store.write(dataset, frame, part, known, made_by)
            del frame  # it would lie beside the next block
            if self._on_written is not None:
                self._on_written(dataset.name, len(part))
        after = self._contents_of(dataset, keys)
        set_data_version(context, self._data_version(context, before, after))
        changed = sum(content is None or content != before[key] for key, content in after.items())
        context.add_output_metadata(
            {ROWS_OF_RUN: sum(rows.values()), PARTITIONS_OF_RUN: len(rows), PARTITIONS_CHANGED: changed}
        )

    def load_input(self, context: dg.InputContext) -> pl.LazyFrame:
        """Load the mapped partitions.

        Raises:
            SettingsError: the run's instance keeps the records of another storage.

        """
        self._bind_instance(context)
        dataset = self._datasets[context.asset_key.path[-1]]
        keys: Sequence[str] = context.asset_partition_keys if context.has_asset_partitions else []
        absent = (context.definition_metadata or {}).get("absent")
        start, end = run_range(context)
        last = max([parse_key(end)[1], *(parse_key(key)[1] for key in keys)])
        if absent == "skip":
            gone = set(self.store.missing(dataset, keys))
            months = {parse_key(key)[1] for key in keys} - {parse_key(key)[1] for key in keys if key not in gone}
            # A month without any sector stays among the keys: reading it raises the error that names it.
            keys = [key for key in keys if key not in gone or parse_key(key)[1] in months]
        elif absent is not None:
            if absent in ("any", "stored"):
                optional = list(keys)
            elif absent == "future":
                optional = [key for key in keys if parse_key(key)[1] > month_of(self._last_session())]
            else:
                first = parse_key(start)[1]
                optional = [key for key in keys if parse_key(key)[1] < first]
                keys = optional if absent == "carried" else keys
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

    def _bind_instance(self, context: dg.InputContext | dg.OutputContext) -> None:
        """Refuse an instance of another storage, however the run was started, also by Dagster's own commands."""
        home = instance_home(context)
        if home is None or home in self._homes:
            return
        with contextlib.suppress(OSError):  # a home that may not be written, as in a container, stays unbound
            if bind(home, self.store.url):
                context.log.info(f"the Dagster instance {home} is bound to {self.store.url} from now on")
        self._homes.add(home)

    def _read_by(self, context: dg.InputContext | dg.OutputContext) -> dict[str, dict[str, str | None]]:
        step = run_and_step(context)
        if step != self._step:
            self._step, self._contents = step, {}
        return self._contents

    def _contents_of(self, dataset: Dataset, keys: Sequence[str]) -> dict[str, str | None]:
        gone = set(self.store.missing(dataset, keys))
        return {key: None if key in gone else self.store.recorded(dataset, key).content for key in keys}

    def _data_version(
        self, context: dg.OutputContext, before: Mapping[str, str | None], after: Mapping[str, str | None]
    ) -> dg.DataVersion:
        """Dagster's data version of the run's partitions, by which it tells what is downstream of a change.

        Dagster gives all partitions of a run the same one. So that rows which came out as they were do not count as
        new, a run that changes nothing keeps the version that they have.
        """
        if before == after:
            kept = latest_data_versions(context, after)
            if len(kept) == 1 and (version := kept.pop()) is not None:
                return dg.DataVersion(version)
        return dg.DataVersion(data_version(after))


def data_version(contents: Mapping[str, str | None]) -> str:
    """Dagster's data version of partitions that are written together, from the hash of the rows of each."""
    whole = "".join(f"{key}{content}" for key, content in contents.items())
    return hashlib.blake2b(whole.encode(), digest_size=16).hexdigest()


class Recorder(Protocol):
    """Tells what a partition's rows follow from."""

    def made_by(self, name: str, contents: Mapping[str, Mapping[str, str | None]]) -> Callable[[str], str]:
        """The text to record for each partition of a run, from the hashes of the partitions that it has read."""
