"""Dagster's IO manager over the store: writes a run's rows by partition and loads its inputs as one frame."""

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
ROWS_OF_RUN, PARTITIONS_OF_RUN, PARTITIONS_CHANGED = "rows_of_run", "partitions_of_run", "changed_partitions_of_run"


class ParquetIOManager(dg.IOManager):
    """Writes a run's output split by partition and loads any set of partitions as one LazyFrame.

    The value of `absent` in an input's metadata says which partitions may be absent and are then left out:

    - `skip`: any, unless a whole month is absent (the total portfolio over the existing sectors).
    - `before`: those before the run's months (the history of a report).
    - `carried`: the same, and only these are loaded (an asset's own earlier months).
    - `future`: those of months that have not begun at the last closed session.
    - `any`, `stored`: all. For `stored`, only the run's own months are planned.
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
        #: Gives the provenance of partitions; None if none is recorded.
        self.recorder = recorder
        self._on_written = on_written
        #: Homes of instances bound to this storage.
        self._homes: set[Path] = set()
        #: The current step, and the hashes of the partitions that it has read, by dataset.
        self._step: tuple[str, str] | None = None
        self._contents: dict[str, dict[str, str | None]] = {}

    def handle_output(self, context: dg.OutputContext, obj: pl.DataFrame | pl.LazyFrame | Blocks) -> None:
        """Write the partitions of the run and record their contents, block by block for `Blocks`.

        If a block fails, the blocks before it stay written.

        Raises:
            SettingsError: the run's instance is bound to another storage.

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
            if dataset.name in read:  # a month depends on the month before, also if this run writes both
                read[dataset.name] |= self.store.contents(dataset, frame, keys)
            blocks = [(unsaid(self.store, dataset, frame, keys) if dataset.said else keys, frame)]
        made_by = None if self.recorder is None else self.recorder.made_by(dataset.name, read)
        before, rows = self._contents_of(dataset, keys), dict[str, int]()
        for part, frame in blocks:
            if dataset.said:
                frame = frame.filter(dataset.grain.of_rows(dataset.dated_by).is_in(part))
            rows |= self.store.write(dataset, frame, part, known, made_by)
            del frame  # free the memory before the next block
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
            SettingsError: the run's instance is bound to another storage.

        """
        self._bind_instance(context)
        dataset = self._datasets[context.asset_key.path[-1]]
        keys: Sequence[str] = context.asset_partition_keys if context.has_asset_partitions else []
        absent = (context.definition_metadata or {}).get("absent")
        start, end = run_range(context)
        last = max([parse_key(end)[1], *(parse_key(key)[1] for key in keys)])
        if absent == "skip":
            missing = set(self.store.missing(dataset, keys))
            months = {parse_key(key)[1] for key in keys} - {parse_key(key)[1] for key in keys if key not in missing}
            # Keep a month without any sector: reading it raises an error that names it.
            keys = [key for key in keys if key not in missing or parse_key(key)[1] in months]
        elif absent is not None:
            if absent in ("any", "stored"):
                optional = list(keys)
            elif absent == "future":
                optional = [key for key in keys if parse_key(key)[1] > month_of(self._last_session())]
            else:
                first = parse_key(start)[1]
                optional = [key for key in keys if parse_key(key)[1] < first]
                keys = optional if absent == "carried" else keys
            missing = set(self.store.missing(dataset, optional))
            keys = [key for key in keys if key not in missing]
        upstream = context.upstream_output
        matures = int((upstream.definition_metadata or {}).get("matures_months", 0)) if upstream is not None else 0

        def needed(key: str) -> date:
            # Rows that mature need not be newer than the run's own data.
            return min(self._known_through(parse_key(key)[1], matures), self._known_through(last, 0))

        frame, contents = self.store.read_with_contents(dataset, keys, needed)
        self._read_by(context)[dataset.name] = contents
        return frame

    def _bind_instance(self, context: dg.InputContext | dg.OutputContext) -> None:
        """Refuse an instance of another storage, also for runs started by Dagster's own commands."""
        home = instance_home(context)
        if home is None or home in self._homes:
            return
        with contextlib.suppress(OSError):  # a read-only home, as in a container, stays unbound
            if bind(home, self.store.url):
                context.log.info(f"the Dagster instance {home} is bound to {self.store.url} from now on")
        self._homes.add(home)

    def _read_by(self, context: dg.InputContext | dg.OutputContext) -> dict[str, dict[str, str | None]]:
        step = run_and_step(context)
        if step != self._step:
            self._step, self._contents = step, {}
        return self._contents

    def _contents_of(self, dataset: Dataset, keys: Sequence[str]) -> dict[str, str | None]:
        missing = set(self.store.missing(dataset, keys))
        return {key: None if key in missing else self.store.recorded(dataset, key).content for key in keys}

    def _data_version(
        self, context: dg.OutputContext, before: Mapping[str, str | None], after: Mapping[str, str | None]
    ) -> dg.DataVersion:
        """Dagster's data version of the run's partitions, by which it marks downstream assets as stale.

        Dagster uses one version for all partitions of a run. A run that changes no rows keeps their version, so that
        they do not count as new.
        """
        if before == after:
            versions = latest_data_versions(context, after)
            if len(versions) == 1 and (version := versions.pop()) is not None:
                return dg.DataVersion(version)
        return dg.DataVersion(data_version(after))


def data_version(contents: Mapping[str, str | None]) -> str:
    """Dagster's data version of partitions written together, from their content hashes."""
    whole = "".join(f"{key}{content}" for key, content in contents.items())
    return hashlib.blake2b(whole.encode(), digest_size=16).hexdigest()


class Recorder(Protocol):
    """Gives the provenance of partitions."""

    def made_by(self, name: str, contents: Mapping[str, Mapping[str, str | None]]) -> Callable[[str], str]:
        """The text to record for a partition of a run, from the hashes of the partitions that the run has read."""
