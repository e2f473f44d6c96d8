"""Reproduction: a partition and its upstream, computed again from the recorded settings, and compared."""

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import polars as pl

from quant_assets.audit.runs import Recomputed
from quant_assets.audit.trained import take_over_artifacts
from quant_assets.errors import DatasetError, MissingPartitionError, SettingsError, UsageError, did_you_mean
from quant_assets.grains import grain_of
from quant_assets.graph import build_defs
from quant_assets.io.partition_file import Recorded
from quant_assets.partitions import key, month_range, parse_key, shift_month
from quant_assets.planning.plan import Plan
from quant_assets.profile import Profile
from quant_assets.provenance.record import MadeBy, PartitionRecorder, explain, kept, names_changed
from quant_assets.running.execute import RunFailedError
from quant_assets.settings.loading import recorded_settings
from quant_assets.settings.sectors import SECTORS

NOT_REPRODUCIBLE = "NOT REPRODUCIBLE: other rows from the same code, settings, inputs, files and libraries"
TAMPERED = "the stored rows are not those that were written"


@dataclass(frozen=True)
class Compared:
    """One partition, stored and computed again.

    Attributes:
        asset: its name.
        partition_key: its key.
        outcome: `same`, `differs`, `absent` if it is not stored, or `taken over` for a trained dataset, whose stored
            rows were read and not computed again.
        why: explanations of a difference.

    """

    asset: str
    partition_key: str
    outcome: str
    why: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recomputation:
    """The result of a recomputation.

    Attributes:
        compared: every partition of the chain, upstream first.
        since: code and settings that have changed since the record, in words.
        folder: of the recomputed partitions, if they were kept.

    """

    compared: tuple[Compared, ...]
    since: tuple[str, ...]
    folder: str | None

    @property
    def reproduced(self) -> bool:
        """Whether nothing differs."""
        return all(each.outcome != "differs" for each in self.compared)

    @property
    def taken(self) -> dict[str, list[str]]:
        """Stored partitions that were read and not computed again, by asset."""
        keys: dict[str, list[str]] = {}
        for partition in self.compared:
            if partition.outcome == "taken over":
                keys.setdefault(partition.asset, []).append(partition.partition_key)
        return keys


def recompute(profile: Profile, name: str, partition_key: str, *, keep: bool = False) -> Recomputation:
    """Compute a partition and everything upstream of it again, in a temporary storage, and compare hashes.

    The settings come from the partition's record; the code and the provider's files are today's. If these differ from
    the recorded ones, they explain a difference. The profile's storage is not changed.

    Args:
        profile: whose storage holds the partition.
        name: dataset.
        partition_key: such as `2016-06|healthcare`, or `2016-06` at month grain.
        keep: do not delete the temporary storage.

    Raises:
        SettingsError: there is no such dataset or partition.
        MissingPartitionError: the partition is not stored.
        DatasetError: it records nothing.
        RunFailedError: the recomputation failed.

    """
    sector, month = _checked(profile, name, partition_key)
    recorded = _recorded(profile, name, partition_key)
    with ExitStack() as stack:
        folder = (
            tempfile.mkdtemp(prefix="quant-repro-")
            if keep
            else stack.enter_context(tempfile.TemporaryDirectory(prefix="quant-repro-"))
        )
        dump = kept(profile.store, "settings", recorded.all_settings)
        given = profile.settings.model_dump(include={"profile", "data_dir", "dagster", "collecting"})
        settings = recorded_settings(dump, **given, as_of=profile.last_session())
        scratch = Recomputed.at(Path(folder), settings, profile.provider)
        sectors = [sector] if sector and not scratch.spans_sectors(name) else _stored_sectors(profile, month)
        # The recomputation must end when the stored chain does, because labels go on maturing.
        chain = _Chain(profile, scratch, name, sectors, month)
        keys = (
            keys
            for plan in chain.plans()
            for keys in (plan.stored, *(dict.fromkeys(phase.assets, phase.keys) for phase in plan.phases))
        )
        known = [each.known_through for found in keys for _, _, each in _stored(profile, found) if each.known_through]
        settings = recorded_settings(dump, **given, as_of=max(known))
        chain = _Chain(profile, Recomputed.at(Path(folder), settings, profile.provider, profile), name, sectors, month)
        again = chain.compute()
        comparison = _Comparison(profile, again)
        compared = tuple(comparison.all())
        return Recomputation(compared, tuple(comparison.since()), folder if keep else None)


class _Chain:
    """An asset of one month with its whole upstream, in an empty storage."""

    def __init__(self, stored: Profile, scratch: Recomputed, name: str, sectors: Sequence[str], month: str) -> None:
        names = [name] if stored.datasets[name].grain.by_sector else [name, *scratch.upstream(name)]
        shown = {
            each: month_range(shift_month(month, first), month)
            for each, (first, _) in scratch.planner.history(name).items()
        }
        #: Optional history that the asset shows.
        self._shown = {
            each: [key(sector, one) for sector in sectors for one in months] for each, months in shown.items()
        }
        first = min((parse_key(each)[1] for _, each, _ in _stored(stored, self._shown)), default=month)
        self._asked = [*([([*shown], sectors, first, month)] if shown else []), (names, sectors, month, month)]
        self._stored = stored
        self._scratch = scratch
        self._sectors, self._month = sectors, month

    def plans(self) -> list[Plan]:
        """The runs that compute it."""
        return [self._scratch.planner.plan(*asked) for asked in self._asked]

    def compute(self) -> Recomputed:
        """Execute the plans, with the log of trials that a report reads.

        Raises:
            RunFailedError: one failed; names asset, sector and months.

        """
        tried = self._stored.store.artifacts("trials")
        self._scratch.profile.store.write_artifacts(
            dict(zip(tried, self._stored.store.read_artifacts(tried), strict=True))
        )
        # The previous month's state is taken from the store, so that not the whole history must be computed.
        before = shift_month(self._month, -1)
        for name in self._scratch.planner.carried:
            keys = self._stored.datasets[name].grain.keys([before], self._sectors)
            for _, each, recorded in list(_stored(self._stored, {name: keys})):
                dataset, known = self._stored.datasets[name], {each: recorded.known_through or date.max}
                rows = self._stored.store.read(dataset, [each]).collect().drop("month")
                self._scratch.profile.store.write(dataset, rows, [each], known.__getitem__)
                take_over_artifacts(self._stored, self._scratch.profile, rows, whole_folders=True)
        for asked in self._asked:
            self._scratch.compute(*asked)
            there = {(name, each) for name, each, _ in _stored(self._stored, self._shown)}
            for name, each, _ in list(_stored(self._scratch.profile, self._shown)):
                if (name, each) not in there:  # computed for its readers only; hidden, as it was not stored
                    self._scratch.profile.store.refuse(self._scratch.profile.datasets[name], [each])
        if self._scratch.failures:
            raise RunFailedError("\n".join(self._scratch.failures))
        return self._scratch


def _checked(profile: Profile, name: str, partition_key: str) -> tuple[str | None, str]:
    if name not in profile.datasets:
        raise UsageError(
            f"there is no asset '{name}'{did_you_mean(name, profile.datasets)}; assets are "
            f"{', '.join(profile.datasets)}"
        )
    grain = profile.datasets[name].grain
    if grain_of(partition_key).by_sector != grain.by_sector:
        raise SettingsError(f"'{partition_key}' is not a partition of '{name}'; write {grain.example}")
    return grain.parse(partition_key)


def _recorded(profile: Profile, name: str, partition_key: str) -> MadeBy:
    dataset, store = profile.datasets[name], profile.store
    if store.missing(dataset, [partition_key]):
        raise MissingPartitionError(
            f"partition {partition_key} of '{name}' is not in {store.url}; materialise it with quant run"
        )
    made_by = MadeBy.parsed(store.recorded(dataset, partition_key).made_by)
    if made_by is None:
        raise DatasetError(f"{store.path(dataset, partition_key)} records no code and settings; materialise it again")
    return made_by


def _stored_sectors(profile: Profile, month: str) -> list[str]:
    """Sectors whose month is stored, over which assets that span sectors are computed."""
    found = set()
    for dataset in profile.datasets.values():
        if dataset.grain.by_sector:
            keys = [key(sector, month) for sector in SECTORS]
            found |= {parse_key(each)[0] for each in set(keys) - set(profile.store.missing(dataset, keys))}
    return [sector for sector in SECTORS if sector in found]


def _stored(profile: Profile, keys: Mapping[str, Iterable[str]]) -> Iterator[tuple[str, str, Recorded]]:
    """Asset, key and record of the partitions that are stored."""
    for name, found in keys.items():
        dataset, wanted = profile.datasets[name], sorted(found)
        gone = set(profile.store.missing(dataset, wanted))
        yield from ((name, each, profile.store.recorded(dataset, each)) for each in wanted if each not in gone)


class _Comparison:
    """Compares stored partitions of a profile with recomputed ones."""

    def __init__(self, stored: Profile, again: Recomputed) -> None:
        self._stored = stored
        self._again = again.profile
        self._keys, self._taken = again.keys, again.taken
        self._order = again.planner.order
        self._there = {(name, each): recorded for name, each, recorded in _stored(stored, again.keys | again.taken)}
        recorders = [(build_defs(each).resources or {})["parquet"].recorder for each in (stored, again.profile)]
        self._today: PartitionRecorder = recorders[0]
        self._recorder: PartitionRecorder = recorders[1]

    def all(self) -> Iterator[Compared]:
        """Every recomputed or taken-over partition, upstream first."""
        for name in self._order:
            for each in sorted(self._keys.get(name, self._taken.get(name, ()))):
                recorded = self._there.get((name, each))
                yield Compared(name, each, "absent") if recorded is None else self._one(name, each, recorded)

    def _one(self, name: str, partition_key: str, recorded: Recorded) -> Compared:
        dataset = self._again.datasets[name]
        content = self._stored.store.content(self._stored.datasets[name], partition_key)
        why = [] if recorded.content == content else [TAMPERED]
        if name in self._taken:
            return Compared(name, partition_key, "differs" if why else "taken over", tuple(why))
        fresh = self._again.store.recorded(dataset, partition_key)
        if content == fresh.content:
            return Compared(name, partition_key, "same")
        before, now = MadeBy.parsed(recorded.made_by), MadeBy.parsed(fresh.made_by)
        if before is None or now is None:
            return Compared(name, partition_key, "differs", (*why, "it records no code and settings"))
        explained = explain(
            self._recorder.versions[name],
            parse_key(partition_key)[0],
            before,
            now,
            self._today.meaning,
            self._recorder.meaning,
        )
        columns = self._stored.store.columns(dataset, partition_key)
        same_columns = list(columns.items()) == list(dataset.schema.items())
        # Another version of a library, such as Arrow, may write the same rows as other bytes, so the rows are compared.
        if not why and same_columns and self._same_rows(name, partition_key):
            return Compared(name, partition_key, "same")
        why += explained.values()
        if recorded.known_through != fresh.known_through:
            why.append(
                f"it covers sessions up to {recorded.known_through}, the recomputation up to {fresh.known_through}"
            )
        if not same_columns:
            why.append(f"columns {names_changed(columns, dataset.schema) or 'in another order'}")
        return Compared(name, partition_key, "differs", tuple(why) or (NOT_REPRODUCIBLE,))

    def _same_rows(self, name: str, partition_key: str) -> bool:
        dataset = self._again.datasets[name]  # today's settings may give it other columns
        frames: list[pl.DataFrame] = [
            each.store.read(dataset, [partition_key]).collect() for each in (self._stored, self._again)
        ]
        return frames[0].equals(frames[1])

    def since(self) -> Iterator[str]:
        """Code and settings of the stored chain that differ from today's."""
        found: dict[str, None] = {}
        for (name, partition_key), recorded in self._there.items():
            before, now = MadeBy.parsed(recorded.made_by), self._today.now(name, {})(partition_key)
            if before is None or (before.code == now.code and before.settings == now.settings):
                continue
            sector = parse_key(partition_key)[0]
            explained = explain(
                self._today.versions[name], sector, before, now, self._today.meaning, self._today.meaning
            )
            found |= dict.fromkeys(f"{name}: {explained[kind]}" for kind in ("code", "settings") if kind in explained)
        yield from found
