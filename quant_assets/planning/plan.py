"""Which runs bring a request about: the warm-up that assets' windows need, and one range run per sector and phase."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import dagster as dg

from quant_assets.partitions import RunPartitions, period_range, shift_month
from quant_assets.planning.flow import Flow, Window
from quant_assets.planning.staleness import Staleness
from quant_assets.planning.todo import Node, Range, Todo
from quant_assets.profile import Profile
from quant_assets.settings.sectors import SECTORS

#: Most sectors times months of a run over several sectors: where months are few, a run's own costs outweigh its work.
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
        """Keys of the partitions that each of the assets gets."""
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
        """The same for each sector in a run of its own."""
        return [replace(self, sectors=(sector,)) for sector in self.sectors]


@dataclass(frozen=True)
class Plan:
    """The runs that bring a request about.

    Attributes:
        stages: one after the other: chains of phases that do not wait for each other, one for each sector, or one for
            what spans sectors.
        notes: what a person should know: the months that are computed again, and the stale ones that are not. The
            latter are those that the runs read, and those right before and after the months that are computed.
        uses_stale: whether stale partitions stay beside what is planned.
        stored: keys of the partitions that are read of assets that the planner never computes.

    """

    stages: tuple[tuple[list[Phase], ...], ...]
    notes: tuple[str, ...] = ()
    uses_stale: bool = False
    stored: Mapping[str, Collection[str]] = field(default_factory=dict)

    @property
    def phases(self) -> list[Phase]:
        """All runs, each after those that it waits for."""
        return [phase for stage in self.stages for chain in stage for phase in chain]


class Planner:
    """Plans runs over the asset graph of a set of definitions.

    A partition of the warm-up that other code or settings have made is used as it is, and the plan's notes say so: an
    edit must not start the computation of 25 years, and two versions must not stand side by side unsaid.

    Args:
        defs: the definitions.
        profile: the profile that they were made for.
        refresh: compute such partitions again, and those that read them.
        stored_only: assets that are never computed: those that read them take their stored partitions.

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
        """Assets that read their own month before, as far as it is stored."""
        return self._flow.carried

    def reads(self, name: str) -> tuple[str, ...]:
        """Names of the assets that an asset reads."""
        return tuple(self._flow.windows[name])

    @property
    def matures(self) -> int:
        """Months by which the asset that looks furthest ahead does."""
        return max(self._flow.matures.values(), default=0)

    def apart_from(self, left_out: Collection[str], *, of: Collection[str]) -> list[str]:
        """The assets but some, upstream first, and without those that lack something then.

        Args:
            left_out: assets that are not computed.
            of: those among them whose partition of the same month is not there: what needs it is left out too.

        """
        lost = set(of)
        for name in self.order:
            reads = {each for each, (first, last) in self._flow.required(name).items() if first <= 0 <= last}
            if lost & reads:
                lost |= set(self._flow.together[name])
        return [name for name in self.order if name not in lost and name not in left_out]

    def unfinished(self, name: str, sectors: Sequence[str], month: str, *, absent: bool) -> bool:
        """Whether a partition of an asset's month was written when less was known, or is not there.

        Args:
            name: of the asset.
            sectors: slugs.
            month: of the partitions.
            absent: whether one that is not there counts.

        """
        todo = Todo(self._flow, self._profile, None, sectors, self._stored_only)
        return any(todo.lacks(name, place, month, absent=absent) for place in todo.places(name))

    def history(self, name: str) -> Mapping[str, Window]:
        """First and last month, relative to its own, of the inputs whose earlier months an asset reads.

        They are read as far as they are there.
        """
        return {
            each: self._flow.windows[name][each]
            for each in self._flow.windows[name]
            if each in self._flow.optional[name]
        }

    def select(self, selection: str | None, defs: dg.Definitions) -> list[str]:
        """Names of an asset selection, or of every asset.

        Args:
            selection: Dagster's own (`group:signals`, `ohlcv+`), or `ohlcv..labels`: from one asset to another in the
                order of the flow, both included; several separated by commas.
            defs: the definitions of this planner.

        Raises:
            SettingsError: the selection cannot be parsed or selects nothing.

        """
        return self._flow.select(selection, defs)

    def plan(self, names: Iterable[str], sectors: Sequence[str], first: str, last: str) -> Plan:
        """Runs of some months, warm-up included; finished partitions of the warm-up are not computed again.

        Args:
            names: assets of any grain.
            sectors: slugs; without any, only what spans sectors is computed, over the sectors that are there.
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
        """Sectors and what spans them in turn, each asset as late as those that read it allow."""
        planned = [name for name in self.order if any((name, place) in todo.spans for place in todo.places(name))]
        late: dict[str, int] = {}  # 0 is the last stage; sectors have the odd ones
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
    """One line about an asset's months: of which sectors, from when to when, how many, and why."""
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
