"""Stored partitions that today's code, settings or inputs would compute differently, and the reasons.

Compares records only; computes and changes nothing.
"""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from quant_assets.partitions import key, parse_key, shift_month
from quant_assets.profile import Profile
from quant_assets.provenance.record import MadeBy, PartitionRecorder, explain

#: Reason for partitions without a record: written by an earlier version, or by another program.
UNRECORDED = "records neither code nor settings"

#: Kinds of changes that make a partition stale. Libraries and the provider's files change all the time: these changes
#: are reported, but do not count.
KINDS = ("code", "settings", "inputs")


@dataclass(frozen=True)
class Stale:
    """Neighbouring months of one asset with the same reasons.

    Attributes:
        asset: its name.
        sector: slug, None at month grain.
        first, last: months.
        partitions: number of partitions.
        why: the reasons in words.
        counts: whether they are stale; else for information only.

    """

    asset: str
    sector: str | None
    first: str
    last: str
    partitions: int
    why: str
    counts: bool


class Staleness:
    """Compares the records of partitions with those that they would get now.

    Args:
        profile: of the storage.
        recorder: of its definitions.

    """

    def __init__(self, profile: Profile, recorder: PartitionRecorder) -> None:
        self._profile = profile
        self._recorder = recorder
        self._parsed: dict[str, MadeBy | None] = {}

    def own(self, name: str, partition_key: str) -> str | None:
        """How code and settings of a partition differ from today's, without inputs and files; None if they do not."""
        text = self._profile.store.recorded(self._profile.datasets[name], partition_key).made_by
        recorded, sector = self._record(text), parse_key(partition_key)[0]
        if recorded is None:
            return UNRECORDED
        version = self._recorder.versions[name]
        if recorded.code == version.code and recorded.settings == self._recorder.settings_digest(name, sector):
            return None
        reasons = self._explain(name, sector, recorded, self._recorder.now(name, {})(partition_key))
        return "; ".join(reasons[kind] for kind in ("code", "settings") if kind in reasons)

    def carries_on_other_rows(self, name: str, partition_key: str) -> bool:
        """Whether a partition read other rows of its previous month than are stored now."""
        dataset, store, (sector, month) = self._profile.datasets[name], self._profile.store, parse_key(partition_key)
        recorded = self._record(store.recorded(dataset, partition_key).made_by)
        if recorded is None:
            return False
        before = key(sector, shift_month(month, -1))
        stored = {} if store.missing(dataset, [before]) else {before: store.recorded(dataset, before).content}
        now = self._recorder.now(name, {name: stored})(partition_key)
        return recorded.inputs.get(name) != now.inputs.get(name)

    def readers(self, names: Iterable[str], revised: Mapping[str, Iterable[str]]) -> dict[str, list[str]]:
        """The given partitions, and the stored ones that read them, directly or through others.

        Args:
            names: assets in topological order.
            revised: keys of the partitions, by asset.

        Returns:
            Keys by asset, sorted; without assets that have none.

        """
        stale: dict[tuple[str, str | None], list[str]] = {}
        readers: dict[str, list[str]] = {}
        for name in names:
            revised_keys, windows = set(revised.get(name, ())), self._recorder.versions[name].windows
            if not revised_keys and not any(read in windows for read, _ in stale):
                continue
            for each in sorted(revised_keys | self._profile.store.existing(self._profile.datasets[name])):
                sector, month = parse_key(each)
                if each in revised_keys or any(self._stale_inputs(windows, sector, month, stale)):
                    stale.setdefault((name, sector), []).append(month)  # in order: the next month may read it
                    readers.setdefault(name, []).append(each)
        return readers

    def all(self, names: Iterable[str], sectors: Sequence[str]) -> Iterator[Stale]:
        """Stale partitions of these assets, which must be in topological order.

        Readers of stale partitions, in these sectors, count too.
        """
        names, store, datasets = list(names), self._profile.store, self._profile.datasets
        # Assets that span sectors also read other sectors.
        spanned = {
            each
            for name in names
            if not datasets[name].grain.by_sector
            for each in self._recorder.versions[name].windows
        }
        contents: dict[str, dict[str, str | None]] = {}
        stale: dict[tuple[str, str | None], list[str]] = {}
        for name in names:
            dataset, version = datasets[name], self._recorder.versions[name]
            every = sorted(store.existing(dataset))
            keys = [each for each in every if parse_key(each)[0] is None or parse_key(each)[0] in sectors]
            recorded = {each: store.recorded(dataset, each) for each in (every if name in spanned else keys)}
            contents[name] = {each: found.content for each, found in recorded.items()}
            there = {upstream: contents[upstream] for upstream in version.windows if upstream in contents}
            now = self._recorder.now(name, there)
            reasons: dict[str | None, dict[str, dict[str, bool]]] = {}
            for each in keys:
                sector, month = parse_key(each)
                found = self._reasons(name, sector, self._record(recorded[each].made_by), now(each))
                if not recorded[each].same_columns:
                    found["written with other columns"] = True
                upstream = (
                    [] if any(found.values()) else list(self._stale_inputs(version.windows, sector, month, stale))
                )
                if upstream:
                    found[f"reads stale {', '.join(upstream)}"] = True
                reasons.setdefault(sector, {})[month] = found
                if any(found.values()):  # in order of months: the next one may read it
                    stale.setdefault((name, sector), []).append(month)
            for sector, by_month in reasons.items():
                yield from _joined(name, sector, by_month)

    def _reasons(self, name: str, sector: str | None, recorded: MadeBy | None, now: MadeBy) -> dict[str, bool]:
        if recorded is None:
            return {UNRECORDED: True}
        # Only inputs with known contents can be compared.
        inputs = {upstream: found for upstream, found in recorded.inputs.items() if upstream in now.inputs}
        compared = MadeBy(**{**recorded.__dict__, "inputs": inputs})
        now = MadeBy(**{**now.__dict__, "inputs": {upstream: now.inputs[upstream] for upstream in inputs}})
        return {why: kind in KINDS for kind, why in self._explain(name, sector, compared, now).items()}

    def _stale_inputs(
        self,
        windows: Mapping[str, tuple[int, int]],
        sector: str | None,
        month: str,
        stale: Mapping[tuple[str, str | None], list[str]],
    ) -> Iterator[str]:
        for upstream, (first, last) in windows.items():
            for where in (sector, None) if sector is not None else {each for name, each in stale if name == upstream}:
                months = stale.get((upstream, where), [])
                place = bisect_left(months, shift_month(month, first))
                if place < len(months) and months[place] <= shift_month(month, last):
                    yield upstream
                    break

    def _record(self, text: str | None) -> MadeBy | None:
        if text is None:
            return None
        if text not in self._parsed:
            self._parsed[text] = MadeBy.parsed(text)
        return self._parsed[text]

    def _explain(self, name: str, sector: str | None, recorded: MadeBy, now: MadeBy) -> dict[str, str]:
        if recorded == now:
            return {}
        return explain(
            self._recorder.versions[name], sector, recorded, now, self._recorder.meaning, self._recorder.meaning
        )


def _joined(name: str, sector: str | None, by_month: Mapping[str, Mapping[str, bool]]) -> Iterator[Stale]:
    """Stretches of months with the same reasons."""
    stretch: list[str] = []
    months = sorted(by_month)
    for month, following in zip(months, [*months[1:], None], strict=True):
        stretch.append(month)
        if following is not None and by_month[following] == by_month[month]:
            continue
        for counts in (True, False):
            why = "; ".join(each for each, counted in by_month[month].items() if counted == counts)
            if why:
                yield Stale(name, sector, stretch[0], stretch[-1], len(stretch), why, counts)
        stretch = []
