"""Stored partitions that differ from the provider's current files. Compares only; changes nothing stored.

The hash of a file is not enough, because every day appends a bar. So the assets recompute past months from the files in
a temporary folder, sector by sector, and the hashes of rows are compared.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from quant_assets.audit.compare import SETTLED, compare
from quant_assets.audit.runs import Recomputed
from quant_assets.errors import SourceError
from quant_assets.partitions import parse_key
from quant_assets.planning.staleness import Staleness
from quant_assets.profile import Profile
from quant_assets.provenance.record import MadeBy, PartitionRecorder
from quant_assets.running.execute import RunFailedError
from quant_assets.settings.sectors import SECTORS

#: Greatest number of names of a revised partition.
_NAMED = 20


@dataclass(frozen=True)
class Revised:
    """A stored partition of a past month for which the provider has other rows now.

    Attributes:
        asset: name of the asset.
        partition_key: key of the partition.
        was: hash of the stored rows.
        now: hash of the rows from the files.
        names: tickers or macro series whose rows differ, sorted, the first twenty.

    """

    asset: str
    partition_key: str
    was: str
    now: str
    names: tuple[str, ...]


class Provided:
    """The files of a profile's provider and the partitions stored from them.

    Args:
        profile: profile with the storage.
        recorder: recorder of new definitions, with the state of the files at its creation.

    """

    def __init__(self, profile: Profile, recorder: PartitionRecorder) -> None:
        self._profile, self._recorder = profile, recorder
        self._staleness = Staleness(profile, recorder)
        self._began = recorder.file_states(self.assets)

    @property
    def assets(self) -> list[str]:
        """Assets that read from the provider, in flow order."""
        return reading(self._profile, self._recorder)

    def files(self) -> dict[str, dict[str, str]]:
        """Hash of each file that an asset reads, by asset and the file's name."""
        return {name: self._recorder.source_files(name) for name in self.assets}

    def refuse_changed(self) -> None:
        """Check that no file has changed since the start.

        Raises:
            SourceError: a file has changed; names it.

        """
        now = self._recorder.file_states(self.assets)
        changed = sorted(name for name in {*now, *self._began} if now.get(name) != self._began.get(name))
        if changed:
            raise SourceError(
                f"{changed[0]} changed while it was looked into; nothing was decided, and it is looked into again"
            )

    def places(self, assets: Sequence[str]) -> list[str | None]:
        """Sectors with stored partitions, in GICS order, and None for partitions without a sector."""
        stored = {parse_key(partition_key)[0] for name in assets for partition_key in self._existing(name)}
        return [sector for sector in (*SECTORS, None) if sector in stored]

    def compared(self, assets: Sequence[str], place: str | None) -> Iterator[Revised]:
        """Differing partitions of some assets, of one sector or without a sector.

        Raises:
            RunFailedError: an asset could not be computed; names it and the reason.

        """
        keys = {name: self._judged(name, place) for name in assets}
        keys = {name: partitions for name, partitions in keys.items() if partitions}
        if not keys:
            return
        months = sorted({parse_key(partition)[1] for partitions in keys.values() for partition in partitions})
        with tempfile.TemporaryDirectory(prefix="quant-look-") as folder:
            settings = self._profile.settings.model_copy(update={"as_of": self._profile.last_session()})
            again = Recomputed.at(Path(folder), settings, self._profile.provider)
            again.compute(list(keys), [] if place is None else [place], months[0], months[-1])
            if again.failures:
                raise RunFailedError("\n".join(again.failures))
            for name, partitions in keys.items():
                for partition in partitions:
                    revised = self._compared(again.profile, name, partition)
                    if revised is not None:
                        yield revised

    def _judged(self, name: str, place: str | None) -> list[str]:
        """Complete partitions of past months, written by the current code and settings.

        Incomplete ones are left to the daily run; `quant stale` reports those of other code or settings.
        """
        dataset, store, running = self._profile.datasets[name], self._profile.store, self._profile.last_month()
        complete = []
        for partition in sorted(self._existing(name)):
            sector, month = parse_key(partition)
            if sector != place or month >= running:
                continue
            recorded = store.recorded(dataset, partition)
            finished = recorded.known_through == self._profile.known_through(month)
            if finished and recorded.same_columns and recorded.content and self._staleness.own(name, partition) is None:
                complete.append(partition)
        return complete

    def _compared(self, again: Profile, name: str, partition_key: str) -> Revised | None:
        dataset = self._profile.datasets[name]
        stored = self._profile.store.recorded(dataset, partition_key)
        fresh = again.store.recorded(dataset, partition_key)
        if stored.content == fresh.content:
            return None
        before, after = (
            profile.store.read(dataset, [partition_key]).collect().drop("month") for profile in (self._profile, again)
        )
        records = [MadeBy.parsed(record.made_by) for record in (stored, fresh)]
        others = len({made_by.libraries for made_by in records if made_by is not None}) > 1
        # Another library version may write other bytes or round differently: not a revision.
        differences = compare(dataset, before, after, tolerance=SETTLED if others else 0.0).differences
        if others and not differences:
            return None
        by = next((each for each in ("ticker", "series_id") if each in dataset.columns), None)
        rows = [each.rows[by].cast(pl.String) for each in differences if by is not None and by in each.rows.columns]
        names = pl.concat(rows).drop_nulls().unique().sort().head(_NAMED).to_list() if rows else []
        return Revised(name, partition_key, stored.content or "", fresh.content or "", tuple(names))

    def _existing(self, name: str) -> set[str]:
        return self._profile.store.existing(self._profile.datasets[name])


def reading(profile: Profile, recorder: PartitionRecorder) -> list[str]:
    """Assets of a profile that read from the provider, in flow order."""
    return [name for name in profile.datasets if name in recorder.versions and recorder.versions[name].reads_source]


def differing(before: Mapping[str, Mapping[str, str]], now: Mapping[str, Mapping[str, str]]) -> dict[str, list[str]]:
    """Files that differ between two results of `Provided.files`, by asset; unchanged assets are left out."""
    result = {}
    for name in now:
        was = before.get(name, {})
        changed = sorted(file for file in {*was, *now[name]} if was.get(file) != now[name].get(file))
        if changed or name not in before:
            result[name] = changed
    return result
