"""The months of assets that a request must compute, and the stored months that are stale.

It walks upstream from the requested assets. `plan` makes runs of the result.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from quant_assets.partitions import key, month_range, shift_month
from quant_assets.planning.flow import Flow
from quant_assets.planning.staleness import Staleness
from quant_assets.profile import Profile

Range = tuple[str, str]
#: An asset's name with a sector, or with None if it spans sectors.
Node = tuple[str, str | None]


class Todo:
    """The work for one request.

    Args:
        flow: of the assets.
        profile: of the store.
        staleness: decides whether stored partitions are stale; None without records.
        sectors: of the request.
        stored_only: assets that are never computed: their stored partitions are used.
        again: nodes to compute again although they are finished; None for all visited nodes.

    """

    def __init__(
        self,
        flow: Flow,
        profile: Profile,
        staleness: Staleness | None,
        sectors: Sequence[str],
        stored_only: Collection[str],
        again: Collection[Node] | None = (),
    ) -> None:
        self._flow, self._profile, self._staleness, self._again = flow, profile, staleness, again
        self._sectors, self._stored_only = tuple(sectors), frozenset(stored_only)
        #: Months to compute.
        self.spans: dict[Node, Range] = {}
        #: Keys of the partitions of `stored_only` that are read.
        self.stored: dict[str, set[str]] = {}
        #: Stale months, by asset and reason, then by sector.
        self.stale: dict[tuple[str, str], dict[str | None, set[str]]] = {}

    def reckon(self, names: Iterable[str], asked: Range) -> None:
        """Find the months that assets need for some months.

        Assets that span sectors read the stored sectors. Sector assets are computed for them only if they are among the
        names, or if a sector asset needs the spanning one.
        """
        wanted, computed = set(names), set(month_range(*asked))
        needed: dict[Node, Range | None] = {(name, place): asked for name in wanted for place in self.places(name)}
        for_sectors: set[str] = set()
        for together in dict.fromkeys(self._flow.together[name] for name in reversed(self._flow.order)):
            for place in self.places(together[0]):
                if not self._stored_only.isdisjoint(together):
                    for name in together:
                        span = needed.get((name, place))
                        keys = (key(place, each) for each in (month_range(*span) if span else ()))
                        self.stored.setdefault(name, set()).update(keys)
                    continue
                months = set() if wanted.isdisjoint(together) else computed
                months = months.union(
                    *(
                        each
                        for name in together
                        for each in self._lacking(name, place, needed.get((name, place)), months)
                    )
                )
                for name in self._flow.carried.intersection(together) if months else ():
                    months = months | self._carried_through(name, place, needed.get((name, place)), months)
                span = _span(months)
                if span is None:
                    continue
                for name in together:
                    self.spans[name, place] = span
                    follows = wanted if place is None and name not in for_sectors else None
                    for upstream, window in self._flow.windows[name].items():
                        if self.spans_sectors(upstream) and (place is not None or name in for_sectors):
                            for_sectors.add(upstream)
                        self._need(needed, name, place, upstream, span, window, follows)
        for (name, place), (first, last) in self.spans.items():
            # Next to the computed months, the history may change from one version to another.
            for month in (shift_month(first, -1), shift_month(last, 1)):
                if self._profile.store.missing(self._profile.datasets[name], [key(place, month)]):
                    continue
                self._note(name, place, month, self._why_stale(name, key(place, month)))
                fills = name in self._flow.carried and month > last
                if fills and self._profile.store.missing(self._profile.datasets[name], [key(place, last)]):
                    self._note(name, place, month, "carried on without a stored previous month")

    def _carried_through(self, name: str, place: str | None, wanted: Range | None, months: Collection[str]) -> set[str]:
        """Further months to compute of an asset that reads its own previous month.

        These are the stored months directly before, from the first one that is unfinished or read other rows than are
        stored now; and the wanted months after the first computed one.
        """
        first = month = min(months)
        further = {each for each in month_range(*wanted) if each > first} if wanted else set()
        while month > self._profile.months.start:
            month = shift_month(month, -1)
            absent, unfinished = self._lacking(name, place, (month, month))
            if absent:
                break
            if unfinished or (self._staleness and self._staleness.carries_on_other_rows(name, key(place, month))):
                first = month
        return further | set(month_range(first, min(months)))

    def _need(
        self,
        needed: dict[Node, Range | None],
        name: str,
        place: str | None,
        upstream: str,
        span: Range,
        window: tuple[int, int],
        follows: Collection[str] | None,
    ) -> None:
        """Record the months of an input that an asset needs; if it reads all sectors, only for assets in `follows`."""
        over_sectors = place is None and not self.spans_sectors(upstream)
        if over_sectors and follows is not None and upstream not in follows:
            return
        required = window if over_sectors else self._flow.required(name)[upstream]
        for where in self.read_places(upstream, place):
            months = self._clip(span, required)
            needed[upstream, where] = _hull(needed.get((upstream, where)), months)
            if required != window and upstream not in self._stored_only:
                _, unfinished = self._lacking(upstream, where, self._clip(span, window))
                needed[upstream, where] = _hull(needed[upstream, where], _span(unfinished))

    def places(self, name: str) -> tuple[str | None, ...]:
        """The sectors of the request, or None for an asset that spans them."""
        return (None,) if self.spans_sectors(name) else self._sectors

    def read_places(self, upstream: str, place: str | None) -> tuple[str | None, ...]:
        """The places of an input of an asset: its own sector, every sector, or None."""
        return (place,) if place is not None and not self.spans_sectors(upstream) else self.places(upstream)

    def spans_sectors(self, name: str) -> bool:
        """Whether an asset is computed once for the market."""
        return not self._profile.datasets[name].grain.by_sector

    def stale_and_their_readers(self) -> frozenset[Node]:
        """The nodes with a stale month in `spans`, and their readers."""
        stale: set[Node] = set()
        for name in self._flow.order:
            for place in self.places(name):
                if (name, place) not in self.spans:
                    continue
                dataset, keys = (
                    self._profile.datasets[name],
                    [key(place, m) for m in month_range(*self.spans[name, place])],
                )
                missing = set(self._profile.store.missing(dataset, keys))
                reads = {(each, where) for each in self._flow.windows[name] for where in self.read_places(each, place)}
                if stale & reads or any(self._why_stale(name, each) for each in keys if each not in missing):
                    stale |= {(member, place) for member in self._flow.together[name]}
        return frozenset(stale)

    def _lacking(
        self, name: str, place: str | None, wanted: Range | None, computed: Collection[str] = ()
    ) -> tuple[set[str], set[str]]:
        """Months without a partition, and months with an unfinished partition.

        An unfinished partition was written with other columns, or when less (or more) was known. Months that are
        computed anyway are skipped, because reading 30 thousand files is slow.
        """
        dataset, store = self._profile.datasets[name], self._profile.store
        keys = {key(place, month): month for month in (month_range(*wanted) if wanted else ()) if month not in computed}
        absent = set(store.missing(dataset, keys))
        unfinished = set()
        for each in keys.keys() - absent:
            recorded = store.recorded(dataset, each)
            finished = self._profile.known_through(keys[each], self._flow.matures[name])
            again = self._again is None or (name, place) in self._again
            if again or not recorded.same_columns or recorded.known_through not in (None, finished):
                unfinished.add(keys[each])
            why = self._why_stale(name, each) if recorded.same_columns else "written with other columns"
            self._note(name, place, keys[each], why)
        return {keys[each] for each in absent}, unfinished

    def lacks(self, name: str, place: str | None, month: str, *, absent: bool) -> bool:
        """Whether a partition is unfinished, regardless of code and settings; with `absent`, or missing."""
        missing, unfinished = self._lacking(name, place, (month, month))
        return bool(unfinished) or (absent and bool(missing))

    def _why_stale(self, name: str, partition_key: str) -> str | None:
        return None if self._staleness is None else self._staleness.own(name, partition_key)

    def _note(self, name: str, place: str | None, month: str, why: str | None) -> None:
        if why is not None:
            self.stale.setdefault((name, why), {}).setdefault(place, set()).add(month)

    def _clip(self, span: Range, window: tuple[int, int]) -> Range | None:
        """The existing months of a window."""
        begin = max(shift_month(span[0], window[0]), self._profile.months.start)
        finish = min(shift_month(span[1], window[1]), self._profile.last_month())
        return (begin, finish) if begin <= finish else None

    def sorted_stale(self, *, computed: bool) -> list[tuple[str, str, Mapping[str | None, set[str]]]]:
        """Asset, reason and months by sector of stale partitions that are computed again, or of those that are not."""
        result = []
        for (name, why), by_place in self.stale.items():
            selected = {
                place: {month for month in months if self._computes(name, place, month) == computed}
                for place, months in by_place.items()
            }
            if any(selected.values()):
                result.append((name, why, {place: months for place, months in selected.items() if months}))
        return sorted(result, key=lambda each: (self._flow.order.index(each[0]), each[1]))

    def _computes(self, name: str, place: str | None, month: str) -> bool:
        first, last = self.spans.get((name, place), ("", ""))
        return first <= month <= last


def _hull(one: Range | None, other: Range | None) -> Range | None:
    """The shortest range that holds both."""
    return _span({month for each in (one, other) if each for month in each})


def _span(months: Iterable[str]) -> Range | None:
    """First and last of the months, or None without months."""
    ordered = sorted(months)
    return (ordered[0], ordered[-1]) if ordered else None
