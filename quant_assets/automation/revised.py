"""Which stored partitions a provider's files would make otherwise today. Looks and compares; changes nothing stored.

A file's hash says nothing: each day appends a bar. So what the files give for months that are over is computed again by
the assets themselves, in a scratch folder, sector by sector, and the hashes of rows are compared.
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

#: Most names that are kept of a partition's rows.
_NAMED = 20


@dataclass(frozen=True)
class Revised:
    """A stored partition, of a month that is over, whose provider gives other rows today.

    Attributes:
        asset: its name.
        partition_key: its key.
        was: hash of the rows that are stored.
        now: hash of the rows that the files give.
        names: tickers or macro series whose rows differ, sorted, the first twenty.

    """

    asset: str
    partition_key: str
    was: str
    now: str
    names: tuple[str, ...]


class Provided:
    """What a profile's provider reads from files, and what is stored of it.

    Args:
        profile: whose storage is looked at.
        recorder: of its definitions, made for this look: it knows the files as they were when it was made.

    """

    def __init__(self, profile: Profile, recorder: PartitionRecorder) -> None:
        self._profile, self._recorder = profile, recorder
        self._staleness = Staleness(profile, recorder)
        self._began = recorder.file_states(self.assets)

    @property
    def assets(self) -> list[str]:
        """Those that ask the provider, in the order of the flow."""
        return reading(self._profile, self._recorder)

    def files(self) -> dict[str, dict[str, str]]:
        """Hash of each file that an asset reads, by asset and the file's name."""
        return {name: self._recorder.source_files(name) for name in self.assets}

    def refuse_changed(self) -> None:
        """Refuse to go by what was read where a file has changed meanwhile.

        Raises:
            SourceError: one has; names it.

        """
        now = self._recorder.file_states(self.assets)
        changed = sorted(name for name in {*now, *self._began} if now.get(name) != self._began.get(name))
        if changed:
            raise SourceError(
                f"{changed[0]} changed while it was looked into; nothing was decided, and it is looked into again"
            )

    def places(self, assets: Sequence[str]) -> list[str | None]:
        """Sectors of which something is stored, in GICS order, and None where something is that has no sector."""
        found = {parse_key(each)[0] for name in assets for each in self._existing(name)}
        return [each for each in (*SECTORS, None) if each in found]

    def compared(self, assets: Sequence[str], place: str | None) -> Iterator[Revised]:
        """Those partitions of some assets that differ; of one sector, or of what has none.

        Raises:
            RunFailedError: an asset could not be computed; names it and the reason.

        """
        keys = {name: self._judged(name, place) for name in assets}
        keys = {name: found for name, found in keys.items() if found}
        if not keys:
            return
        months = sorted({parse_key(each)[1] for found in keys.values() for each in found})
        with tempfile.TemporaryDirectory(prefix="quant-look-") as folder:
            settings = self._profile.settings.model_copy(update={"as_of": self._profile.last_session()})
            again = Recomputed.at(Path(folder), settings, self._profile.provider)
            again.compute(list(keys), [] if place is None else [place], months[0], months[-1])
            if again.failures:
                raise RunFailedError("\n".join(again.failures))
            for name, found in keys.items():
                for each in found:
                    revised = self._compared(again.profile, name, each)
                    if revised is not None:
                        yield revised

    def _judged(self, name: str, place: str | None) -> list[str]:
        """Partitions of months that are over, written when they were, by the code and settings of today.

        What is not yet complete is the daily run's; what other code or settings have made differs for that, and is
        told by `quant stale`.
        """
        dataset, store, running = self._profile.datasets[name], self._profile.store, self._profile.last_month()
        found = []
        for each in sorted(self._existing(name)):
            sector, month = parse_key(each)
            if sector != place or month >= running:
                continue
            recorded = store.recorded(dataset, each)
            finished = recorded.known_through == self._profile.known_through(month)
            if finished and recorded.same_columns and recorded.content and self._staleness.own(name, each) is None:
                found.append(each)
        return found

    def _compared(self, again: Profile, name: str, partition_key: str) -> Revised | None:
        dataset = self._profile.datasets[name]
        stored = self._profile.store.recorded(dataset, partition_key)
        fresh = again.store.recorded(dataset, partition_key)
        if stored.content == fresh.content:
            return None
        before, after = (
            each.store.read(dataset, [partition_key]).collect().drop("month") for each in (self._profile, again)
        )
        records = [MadeBy.parsed(each.made_by) for each in (stored, fresh)]
        others = len({each.libraries for each in records if each is not None}) > 1
        # Another version of a library writes the same rows as other bytes, or rounds them otherwise: no revision.
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
    """Assets of a profile that ask the provider, in the order of the flow."""
    return [name for name in profile.datasets if name in recorder.versions and recorder.versions[name].reads_source]


def differing(before: Mapping[str, Mapping[str, str]], now: Mapping[str, Mapping[str, str]]) -> dict[str, list[str]]:
    """Names of the files that differ between two answers of `Provided.files`, by asset; those without are left out."""
    found = {}
    for name in now:
        was = before.get(name, {})
        changed = sorted(each for each in {*was, *now[name]} if was.get(each) != now[name].get(each))
        if changed or name not in before:
            found[name] = changed
    return found
