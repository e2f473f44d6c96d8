"""Which runs bring a request about: the warm-up that assets' windows need, and one range run per sector and phase."""

import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, replace

import dagster as dg

from quant_assets.dagster_internals import input_metadata
from quant_assets.errors import SettingsError
from quant_assets.partitions import key, month_offsets, month_range, shift_month
from quant_assets.planning.staleness import Staleness
from quant_assets.profile import Profile
from quant_assets.schemas import Dataset
from quant_assets.settings.sectors import SECTORS

Range = tuple[str, str]

#: Most sectors times months of a run over several sectors: where months are few, a run's own costs outweigh its work.
_JOINED_PARTITIONS = 36


@dataclass(frozen=True)
class Phase:
    """Assets that one run materialises over one range of months.

    Attributes:
        assets: names, upstream first.
        first, last: months.
        sectors: neighbouring slugs in GICS order, or none for month-grain assets.

    """

    assets: tuple[str, ...]
    first: str
    last: str
    sectors: tuple[str, ...] = ()

    @property
    def range_tags(self) -> dict[str, str]:
        """Run tags of the range."""
        start, end = (
            (key(self.sectors[0], self.first), key(self.sectors[-1], self.last))
            if self.sectors
            else (self.first, self.last)
        )
        return {"dagster/asset_partition_range_start": start, "dagster/asset_partition_range_end": end}

    @property
    def outputs(self) -> int:
        """Partitions that the run writes."""
        return len(self.assets) * self.partitions

    @property
    def partitions(self) -> int:
        """Sectors times months."""
        return max(1, len(self.sectors)) * len(month_range(self.first, self.last))

    def alone(self) -> "list[Phase]":
        """The same for each sector in a run of its own."""
        return [replace(self, sectors=(sector,)) for sector in self.sectors]


class Planner:
    """Plans runs over the asset graph of a set of definitions.

    A partition of the warm-up that other code or settings have made is used as it is, and `notes` says so: an edit must
    not start the computation of 25 years, and two versions must not stand side by side unsaid.

    Args:
        defs: the definitions.
        profile: the profile that they were made for.
        refresh: compute such partitions again, and those that read them.

    """

    def __init__(self, defs: dg.Definitions, profile: Profile, *, refresh: bool = False) -> None:
        self._profile = profile
        self._refresh = refresh
        recorder = (defs.resources or {})["parquet"].recorder
        self._staleness = None if recorder is None else Staleness(profile, recorder)
        self._again: frozenset[str] = frozenset()
        #: Of the plan in hand: asset, reason and month of partitions that are not what they would be today.
        self._old: set[tuple[str, str, str]] = set()
        #: Months by asset, reason and sector: of such partitions that are used as they are, and of those that are
        #: computed again.
        self._used: dict[tuple[str, str], dict[str, set[str]]] = {}
        self._remade: dict[tuple[str, str], dict[str, set[str]]] = {}
        self._datasets = profile.datasets
        self._together: dict[str, tuple[str, ...]] = {}
        self._reads: dict[str, dict[str, tuple[int, int]]] = {}
        self._history: dict[str, dict[str, tuple[int, int]]] = {}
        #: Assets that read their own month before, as far as it is stored.
        self.carried: set[str] = set()
        self._matures: dict[str, int] = {}
        self._groups: dict[str, None] = {}
        for definition in defs.assets or ():
            if not isinstance(definition, dg.AssetsDefinition):
                continue
            if not {asset_key.path[-1] for asset_key in definition.keys} <= set(profile.datasets):
                continue  # made on demand alone
            names = tuple(
                sorted((asset_key.path[-1] for asset_key in definition.keys), key=list(profile.datasets).index)
            )
            optional = _optional_history(definition)
            for spec in definition.specs:
                name = spec.key.path[-1]
                offsets = {dep.asset_key.path[-1]: month_offsets(dep.partition_mapping) for dep in spec.deps}
                if offsets.pop(name, None):
                    self.carried.add(name)
                self._together[name] = names
                self._groups[spec.group_name or "default"] = None
                self._reads[name] = {
                    upstream: (0, 0) if upstream in optional else both for upstream, both in offsets.items()
                }
                self._history[name] = {upstream: both for upstream, both in offsets.items() if upstream in optional}
                self._matures[name] = spec.metadata["matures_months"]
        self.order = self._sorted()

    def reads(self, name: str) -> tuple[str, ...]:
        """Names of the assets that an asset reads."""
        return tuple(self._reads[name])

    def history(self, name: str) -> Mapping[str, tuple[int, int]]:
        """First and last month, relative to its own, of the inputs whose earlier months an asset reads.

        They are read as far as they are there.
        """
        return self._history[name]

    def select(self, selection: str | None, defs: dg.Definitions) -> list[str]:
        """Names of an asset selection, or of every asset.

        Args:
            selection: Dagster's own (`group:signals`, `ohlcv+`), or `ohlcv..labels`: from one asset to another in the
                order of the flow, both included; several separated by commas.
            defs: the definitions of this planner.

        Raises:
            SettingsError: the selection cannot be parsed or selects nothing.

        """
        if selection is None:
            return list(self.order)
        parts = selection.split(",")
        stretches, others = [part for part in parts if ".." in part], [part for part in parts if ".." not in part]
        chosen = {name for part in stretches for name in self._stretch(part)}
        try:
            with warnings.catch_warnings():
                # Dagster's own code for `group:` uses a parameter that is beta.
                warnings.simplefilter("ignore", dg.BetaWarning)
                found = (
                    dg.AssetSelection.from_coercible(others).resolve(defs.resolve_asset_graph()) if others else set()
                )
        except (dg.DagsterError, ValueError, NotImplementedError):
            found, chosen = set(), set()
        names = [name for name in self.order if name in chosen or dg.AssetKey(name) in found]
        if not names:
            raise SettingsError(
                f"selection '{selection}' is not valid or selects nothing; write 'ohlcv,prices', 'ohlcv..labels', "
                "'indicators+', 'group:signals' or 'group:signals and not key:labels'; groups are "
                f"{', '.join(self._groups)}; assets are {', '.join(self.order)}"
            )
        return names

    def _stretch(self, part: str) -> tuple[str, ...]:
        """The assets from the first that `first..last` names to the last."""
        ends = [name.strip() for name in part.split("..")]
        unknown = [name for name in ends if name not in self.order]
        if len(ends) != 2 or unknown:
            what = f"there is no asset '{unknown[0]}'" if unknown and len(ends) == 2 else "it needs two assets"
            raise SettingsError(
                f"selection '{part}': {what}; write 'ohlcv..labels'; assets in order are {', '.join(self.order)}"
            )
        start, stop = (self.order.index(name) for name in ends)
        if start > stop:
            raise SettingsError(f"selection '{part}': {ends[0]} comes after {ends[1]}; write '{ends[1]}..{ends[0]}'")
        return self.order[start : stop + 1]

    def sector_phases(self, names: Sequence[str], sector: str, first: str, last: str) -> list[Phase]:
        """Runs of one sector, warm-up included; finished partitions of the warm-up are not computed again.

        Where month-grain assets are among the names, the warm-up holds what these read in months before the first.
        """
        needed = self._asked(names, "sector", (first, last))
        for name, span in self._todo(self._asked(names, "month", (first, last)), None, (first, last)).items():
            for upstream, (start, end) in self._reads[name].items():
                if upstream in needed:
                    needed[upstream] = _hull(needed[upstream], self._clip(span, start, end))
        return self._phases(needed, sector, (first, last))

    def month_phases(self, names: Sequence[str], first: str, last: str) -> list[Phase]:
        """Runs of the month-grain assets; they read the sectors that are there."""
        return self._phases(self._asked(names, "month", (first, last)), None, (first, last))

    def notes(self) -> list[str]:
        """What a person should know of what was planned so far.

        It tells the months that are computed again, and the stale ones that are not. The latter are those that the runs
        read, and those right before and after the months that are computed.
        """
        found = (("computed again", self._remade), ("stale, left as it is", self._used))
        return [
            f"{what}: {_told(*each, self._datasets)}"
            for what, notes in found
            for each in sorted(notes.items(), key=self._place)
        ]

    def _place(self, note: tuple[tuple[str, str], object]) -> tuple[int, str]:
        return self.order.index(note[0][0]), note[0][1]

    @property
    def uses_stale(self) -> bool:
        """Whether stale partitions stay beside what was planned."""
        return bool(self._used)

    def _phases(self, needed: Mapping[str, Range | None], sector: str | None, asked: Range) -> list[Phase]:
        self._again = frozenset()
        if self._refresh:
            self._again = frozenset(self.order)
            self._again = self._stale_and_readers(self._todo(needed, sector, asked), sector)
        self._old.clear()
        todo = self._todo(needed, sector, asked)
        # Beside the months computed the history changes from one version to another.
        for name, (first, last) in todo.items():
            for month in (shift_month(first, -1), shift_month(last, 1)):
                each = key(sector, month) if sector else month
                if not self._profile.store.missing(self._datasets[name], [each]):
                    self._note(name, month, self._why_stale(name, each))
        for name, why, month in self._old:
            remade = name in todo and todo[name][0] <= month <= todo[name][1]
            (self._remade if remade else self._used).setdefault((name, why), {}).setdefault(sector or "", set()).add(
                month
            )
        return self._grouped(todo, sector)

    def _note(self, name: str, month: str, why: str | None) -> None:
        if why is not None:
            self._old.add((name, why, month))

    def _stale_and_readers(self, reach: Mapping[str, Range], sector: str | None) -> frozenset[str]:
        """The assets of which a month in reach is stale, and those that read them."""
        found: set[str] = set()
        for name in (name for name in self.order if name in reach):
            keys = {(key(sector, month) if sector else month): month for month in month_range(*reach[name])}
            gone = set(self._profile.store.missing(self._datasets[name], keys))
            reads = {*self._reads[name], *self._history[name]}
            if found & reads or any(self._why_stale(name, each) for each in keys if each not in gone):
                found |= {*self._together[name]}
        return frozenset(found)

    def _why_stale(self, name: str, partition_key: str) -> str | None:
        return None if self._staleness is None else self._staleness.own(name, partition_key)

    def _asked(self, names: Iterable[str], grain: str, asked: Range) -> dict[str, Range | None]:
        return {name: asked for name in names if self._datasets[name].grain == grain}

    def _todo(self, needed: Mapping[str, Range | None], sector: str | None, asked: Range) -> dict[str, Range]:
        """Months to compute of each asset.

        Args:
            needed: months that must be there when the runs are over, for the assets that are computed for the asked
                months in any case.
            sector: None for month-grain assets.
            asked: first and last month.

        """
        grain, names = "sector" if sector else "month", set(needed)
        needed, computed = dict(needed), set(month_range(*asked))
        todo: dict[str, Range] = {}
        for together in dict.fromkeys(self._together[name] for name in reversed(self.order)):
            months = set() if names.isdisjoint(together) else computed
            months = months.union(
                *(each for name in together for each in self._lacking(name, sector, needed.get(name), months))
            )
            for name in self.carried.intersection(together) if months else ():
                months |= self._carried_through(name, sector, needed.get(name), months)
            span = _span(months)
            if span is None:
                continue
            for name in together:
                todo[name] = span
                for upstream, (start, end) in self._reads[name].items():
                    if self._datasets[upstream].grain == grain:
                        needed[upstream] = _hull(needed.get(upstream), self._clip(span, start, end))
                for upstream, (start, end) in self._history[name].items():
                    if self._datasets[upstream].grain == grain:
                        _, unfinished = self._lacking(upstream, sector, self._clip(span, start, end))
                        needed[upstream] = _hull(needed[upstream], _span(unfinished))
        return todo

    def _carried_through(self, name: str, sector: str | None, wanted: Range | None, months: Set[str]) -> set[str]:
        """Months that are computed with those of an asset that reads its own month before.

        The unfinished ones right before, as far as they are stored, and those wanted after the first.
        """
        first = min(months)
        found = {month for month in month_range(*wanted) if month > first} if wanted else set()
        while first > self._profile.months.start:
            first = shift_month(first, -1)
            _, unfinished = self._lacking(name, sector, (first, first))
            if not unfinished:
                break
            found |= unfinished
        return found

    def _lacking(
        self, name: str, sector: str | None, wanted: Range | None, computed: Collection[str] = ()
    ) -> tuple[set[str], set[str]]:
        """Months without a partition, and months whose partition is not as it would be written today.

        Such a partition was written with other columns, or when less (or more) was known. Months that are computed in
        any case are left out: looking into 30 thousand files takes as long as some of the work.
        """
        dataset, store = self._datasets[name], self._profile.store
        months = [month for month in (month_range(*wanted) if wanted else ()) if month not in computed]
        keys = {(key(sector, month) if sector else month): month for month in months}
        absent = set(store.missing(dataset, keys))
        unfinished = set()
        for each in keys.keys() - absent:
            recorded = store.recorded(dataset, each)
            finished = self._profile.known_through(keys[each], self._matures[name])
            if name in self._again or not recorded.same_columns or recorded.known_through not in (None, finished):
                unfinished.add(keys[each])
            self._note(
                name, keys[each], self._why_stale(name, each) if recorded.same_columns else "written with other columns"
            )
        return {keys[each] for each in absent}, unfinished

    def _grouped(self, todo: Mapping[str, Range], sector: str | None) -> list[Phase]:
        phases: list[Phase] = []
        done: set[str] = set()
        waiting = [name for name in self.order if name in todo]
        while waiting:
            span = todo[waiting[0]]
            group: list[str] = []
            for name in waiting:
                members = set(self._together[name])
                upstream = {other for member in members for other in self._reads[member] if other in todo} - members
                if todo[name] == span and upstream <= done | set(group):
                    group.append(name)
            phases.append(Phase(tuple(group), *span, (sector,) if sector else ()))
            done |= set(group)
            waiting = [name for name in waiting if name not in done]
        return phases

    def _clip(self, span: Range, start: int, end: int) -> Range | None:
        """The months that the offsets lead to, as far as they exist."""
        begin = max(shift_month(span[0], start), self._profile.months.start)
        finish = min(shift_month(span[1], end), self._profile.last_month())
        return (begin, finish) if begin <= finish else None

    def _sorted(self) -> tuple[str, ...]:
        order: list[str] = []

        def visit(name: str) -> None:
            if name in order:
                return
            for member in self._together[name]:
                for upstream in self._reads[member]:
                    if upstream not in self._together[name]:
                        visit(upstream)
            order.extend(self._together[name])

        for name in self._datasets:
            if name in self._together:
                visit(name)
        return tuple(order)


def _optional_history(definition: dg.AssetsDefinition) -> set[str]:
    """Inputs whose earlier partitions may be absent.

    No run is made for their sake, unless what is there is unfinished.
    """
    found = {name for name, each in input_metadata(definition).items() if each.get("absent") in ("before", "skip")}
    return {asset_key.path[-1] for name, asset_key in definition.keys_by_input_name.items() if name in found}


def _told(what: tuple[str, str], months: Mapping[str, Collection[str]], datasets: Mapping[str, Dataset]) -> str:
    """One line about an asset's months: of which sectors, from when to when, how many, and why."""
    name, why = what
    stretches: list[Range] = []
    for month in sorted({month for each in months.values() for month in each}):
        follows = stretches and shift_month(stretches[-1][1], 1) == month
        stretches = [*stretches[:-1], (stretches[-1][0], month)] if follows else [*stretches, (month, month)]
    sectors = (
        ""
        if datasets[name].grain == "month"
        else f" ({', '.join(months) if len(months) < 4 else f'{len(months)} sectors'})"
    )
    spans = ", ".join(first if first == last else f"{first} to {last}" for first, last in stretches)
    return f"{name}{sectors} {spans}, {sum(map(len, months.values()))} partitions: {why}"


def _hull(one: Range | None, other: Range | None) -> Range | None:
    """The shortest range that holds both."""
    return _span({month for each in (one, other) if each for month in each})


def _span(months: Iterable[str]) -> Range | None:
    """First and last of the months, or None where there are none."""
    ordered = sorted(months)
    return (ordered[0], ordered[-1]) if ordered else None


def joined(chains: Iterable[Sequence[Phase]]) -> list[list[Phase]]:
    """Chains of one sector each; neighbouring sectors' are made one where they are alike and their months are few."""
    found: list[list[Phase]] = []
    for chain in chains:
        before = found[-1] if found else []
        alike = [(each.assets, each.first, each.last) for each in before] == [
            (each.assets, each.first, each.last) for each in chain
        ]
        if (
            before
            and alike
            and _neighbours(before[0].sectors, chain[0].sectors)
            and _together(before) + _together(chain) <= _JOINED_PARTITIONS
        ):
            found[-1] = [
                replace(one, sectors=one.sectors + other.sectors) for one, other in zip(before, chain, strict=True)
            ]
        elif chain:
            found.append(list(chain))
    return found


def _neighbours(before: Sequence[str], after: Sequence[str]) -> bool:
    order = list(SECTORS)
    return order.index(before[-1]) + 1 == order.index(after[0])


def _together(chain: Sequence[Phase]) -> int:
    return max(phase.partitions for phase in chain)


def total_outputs(phases: Iterable[Phase]) -> int:
    """Partitions that the phases write: the length of a progress bar."""
    return sum(phase.outputs for phase in phases)
