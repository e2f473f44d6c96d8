"""Planning of the runs for a request: the warm-up for assets' windows, and one range run per sector and phase."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import dagster as dg

from quant_assets.partitions import RunPartitions, period_range, shift_month
from quant_assets.planning.flow import Flow, Window
from quant_assets.planning.staleness import Staleness
from quant_assets.planning.todo import Node, Range, Todo
from quant_assets.profile import Profile
from quant_assets.settings.sectors import SECTORS

#: Most sectors times months of a run over several sectors: with few months, a run's overhead outweighs its work.
_JOINED_PARTITIONS = 36


@dataclass(frozen=True)
class Phase:
    """Assets that one run materialises over one range of months.

    Attributes:
        assets: names, upstream first.
        first, last: months (or days).
        sectors: neighbouring slugs in GICS order, or none for month-grain assets.

    """

    assets: tuple[str, ...]
    first: str
    last: str
    sectors: tuple[str, ...] = ()

    @property
    def range_tags(self) -> dict[str, str]:
        """Run tags of the range."""
        keys = self.keys
        return {"dagster/asset_partition_range_start": keys[0], "dagster/asset_partition_range_end": keys[-1]}

    @property
    def keys(self) -> list[str]:
        """Keys of the partitions of each of the assets."""
        return RunPartitions(self.sectors, tuple(period_range(self.first, self.last))).keys

    @property
    def outputs(self) -> int:
        """Partitions that the run writes."""
        return len(self.assets) * self.partitions

    @property
    def partitions(self) -> int:
        """Sectors times months (or days)."""
        return max(1, len(self.sectors)) * len(period_range(self.first, self.last))

    def alone(self) -> "list[Phase]":
        """The same with one run per sector."""
        return [replace(self, sectors=(sector,)) for sector in self.sectors]


@dataclass(frozen=True)
class Plan:
    """The runs for a request.

    Attributes:
        stages: consecutive; a stage has independent chains of phases, one per sector, or one for assets that span
            sectors.
        notes: for the user: months that are computed again, and stale months that are not: those that the runs read,
            and those directly before and after the computed months.
        uses_stale: whether stale partitions stay.
        stored: keys of the partitions that are read of assets that the planner never computes.

    """

    stages: tuple[tuple[list[Phase], ...], ...]
    notes: tuple[str, ...] = ()
    uses_stale: bool = False
    stored: Mapping[str, Collection[str]] = field(default_factory=dict)

    @property
    def phases(self) -> list[Phase]:
        """All runs, in topological order."""
        return [phase for stage in self.stages for chain in stage for phase in chain]


class Planner:
    """Plans runs over the asset graph of a set of definitions.

    Stale partitions of the warm-up (computed by other code or settings) are used, and the plan's notes say so: an edit
    must not start the computation of 25 years, and two versions must not be mixed silently.

    Args:
        defs: the definitions.
        profile: of the definitions.
        refresh: compute stale partitions and their readers again.
        stored_only: assets that are never computed: their readers use the stored partitions.

    """

    def __init__(
        self, defs: dg.Definitions, profile: Profile, *, refresh: bool = False, stored_only: Collection[str] = ()
    ) -> None:
        self._profile, self._refresh, self._stored_only = profile, refresh, stored_only
        recorder = (defs.resources or {})["parquet"].recorder
        self._staleness = None if recorder is None else Staleness(profile, recorder)
        self._flow = Flow.of(defs, profile.datasets)

    @property
    def order(self) -> tuple[str, ...]:
        """Names of the assets, upstream first."""
        return self._flow.order

    @property
    def carried(self) -> frozenset[str]:
        """Assets that read their own previous month, if it is stored."""
        return self._flow.carried

    def reads(self, name: str) -> tuple[str, ...]:
        """Names of the assets that an asset reads."""
        return tuple(self._flow.windows[name])

    @property
    def matures(self) -> int:
        """Largest number of months by which an asset looks ahead."""
        return max(self._flow.matures.values(), default=0)

    def apart_from(self, left_out: Collection[str], *, of: Collection[str]) -> list[str]:
        """The assets without some, and without assets that then lack an input; upstream first.

        Args:
            left_out: assets that are not computed.
            of: those among them without a partition of the same month: their readers are left out too.

        """
        lost = set(of)
        for name in self.order:
            reads = {each for each, (first, last) in self._flow.required(name).items() if first <= 0 <= last}
            if lost & reads:
                lost |= set(self._flow.together[name])
        return [name for name in self.order if name not in lost and name not in left_out]

    def unfinished(self, name: str, sectors: Sequence[str], month: str, *, absent: bool) -> bool:
        """Whether a partition of an asset's month was written when less was known, or is missing.

        Args:
            name: of the asset.
            sectors: slugs.
            month: of the partitions.
            absent: whether a missing partition counts.

        """
        todo = Todo(self._flow, self._profile, None, sectors, self._stored_only)
        return any(todo.lacks(name, place, month, absent=absent) for place in todo.places(name))

    def history(self, name: str) -> Mapping[str, Window]:
        """Windows of an asset's optional history: first and last month by input, relative to its own month.

        It is read as far as it is stored.
        """
        return {
            each: self._flow.windows[name][each]
            for each in self._flow.windows[name]
            if each in self._flow.optional[name]
        }

    def select(self, selection: str | None, defs: dg.Definitions) -> list[str]:
        """Names of an asset selection, or of every asset.

        Args:
            selection: Dagster's syntax (`group:signals`, `ohlcv+`), or a range `ohlcv..labels` in topological order,
                both included; several separated by commas.
            defs: the definitions of this planner.

        Raises:
            UsageError: the selection cannot be parsed or selects nothing.

        """
        return self._flow.select(selection, defs)

    def plan(self, names: Iterable[str], sectors: Sequence[str], first: str, last: str) -> Plan:
        """Plan the runs of some months with their warm-up; finished partitions of the warm-up are not computed again.

        Args:
            names: assets of any grain.
            sectors: slugs; if empty, only assets that span sectors are computed, over the stored sectors.
            first: month.
            last: month.

        """
        names = list(names)
        todo = self._todo(names, sectors, (first, last))
        remade, left = (todo.sorted_stale(computed=computed) for computed in (True, False))
        notes = [f"computed again: {_told(*each)}" for each in remade]
        notes += [f"stale, left as it is: {_told(*each)}" for each in left]
        return Plan(tuple(self._stages(todo)), tuple(notes), bool(left), todo.stored)

    def _todo(self, names: Sequence[str], sectors: Sequence[str], asked: Range) -> Todo:
        def reckoned(again: Collection[Node] | None) -> Todo:
            todo = Todo(self._flow, self._profile, self._staleness, sectors, self._stored_only, again)
            todo.reckon(names, asked)
            return todo

        return reckoned(reckoned(None).stale_and_their_readers() if self._refresh else ())

    def _stages(self, todo: Todo) -> list[tuple[list[Phase], ...]]:
        """Alternating stages of sector assets and spanning assets; an asset is as late as its readers allow."""
        planned = [name for name in self.order if any((name, place) in todo.spans for place in todo.places(name))]
        late: dict[str, int] = {}  # 0 is the last stage; sector assets are in odd ones
        for together in dict.fromkeys(self._flow.together[name] for name in reversed(planned)):
            own = 0 if todo.spans_sectors(together[0]) else 1
            readers = [
                late[name] + ((late[name] + own) % 2)
                for name in late
                if not self._flow.windows[name].keys().isdisjoint(together)
            ]
            late |= dict.fromkeys(together, max(readers, default=own))
        stages = []
        for stage in sorted(set(late.values()), reverse=True):
            names = [name for name in planned if late[name] == stage]
            chains = (
                self._grouped({name: todo.spans[name, place] for name in names if (name, place) in todo.spans}, place)
                for place in todo.places(names[0])
            )
            stages.append(tuple(chain for chain in chains if chain))
        return stages

    def _grouped(self, todo: Mapping[str, Range], sector: str | None) -> list[Phase]:
        phases: list[Phase] = []
        done: set[str] = set()
        waiting = [name for name in self.order if name in todo]
        while waiting:
            span = todo[waiting[0]]
            group: list[str] = []
            for name in waiting:
                members = set(self._flow.together[name])
                upstream = {other for member in members for other in self.reads(member) if other in todo} - members
                if todo[name] == span and upstream <= done | set(group):
                    group.append(name)
            phases.append(Phase(tuple(group), *span, (sector,) if sector else ()))
            done |= set(group)
            waiting = [name for name in waiting if name not in done]
        return phases


def _told(name: str, why: str, months: Mapping[str | None, Collection[str]]) -> str:
    """One line about an asset's months: sectors, ranges, count and reason."""
    stretches: list[Range] = []
    for month in sorted({month for each in months.values() for month in each}):
        follows = stretches and shift_month(stretches[-1][1], 1) == month
        stretches = [*stretches[:-1], (stretches[-1][0], month)] if follows else [*stretches, (month, month)]
    named = [sector for sector in months if sector]
    sectors = f" ({', '.join(named) if len(named) < 4 else f'{len(named)} sectors'})" if named else ""
    spans = ", ".join(first if first == last else f"{first} to {last}" for first, last in stretches)
    count = sum(map(len, months.values()))
    return f"{name}{sectors} {spans}, {count} partition{'s' if count != 1 else ''}: {why}"


def joined(chains: Iterable[Sequence[Phase]]) -> list[list[Phase]]:
    """Chains of single sectors; equal chains of neighbouring sectors with few months are merged."""
    merged: list[list[Phase]] = []
    for chain in chains:
        before = merged[-1] if merged else []
        alike = [(phase.assets, phase.first, phase.last) for phase in before] == [
            (phase.assets, phase.first, phase.last) for phase in chain
        ]
        if (
            before
            and alike
            and _neighbours(before[0].sectors, chain[0].sectors)
            and _together(before) + _together(chain) <= _JOINED_PARTITIONS
        ):
            merged[-1] = [
                replace(one, sectors=one.sectors + other.sectors) for one, other in zip(before, chain, strict=True)
            ]
        elif chain:
            merged.append(list(chain))
    return merged


def _neighbours(before: Sequence[str], after: Sequence[str]) -> bool:
    order = list(SECTORS)
    return order.index(before[-1]) + 1 == order.index(after[0])


def _together(chain: Sequence[Phase]) -> int:
    return max(phase.partitions for phase in chain)


def total_outputs(phases: Iterable[Phase]) -> int:
    """Partitions that the phases write: the length of a progress bar."""
    return sum(phase.outputs for phase in phases)
