"""Which runs bring a request about: the warm-up that each asset's windows need, and one range run per sector and phase."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import dagster as dg

from quant_assets.errors import SettingsError
from quant_assets.partitions import key, month_range, shift_month
from quant_assets.profile import Profile
from quant_assets.schemas import DATASETS

Range = tuple[str, str]


@dataclass(frozen=True)
class Phase:
    """Assets that one run materialises over one range of months.

    Attributes:
        assets: names, upstream first.
        first, last: months.
        sector: slug, or None for month-grain assets.

    """

    assets: tuple[str, ...]
    first: str
    last: str
    sector: str | None

    @property
    def range_tags(self) -> dict[str, str]:
        """Run tags of the range."""
        ends = [month if self.sector is None else key(self.sector, month) for month in (self.first, self.last)]
        return {"dagster/asset_partition_range_start": ends[0], "dagster/asset_partition_range_end": ends[1]}

    @property
    def outputs(self) -> int:
        """Datasets times months that the run writes."""
        return len(self.assets) * len(month_range(self.first, self.last))


class Planner:
    """Plans runs over the asset graph of a set of definitions."""

    def __init__(self, defs: dg.Definitions, profile: Profile) -> None:
        self._profile = profile
        self._together: dict[str, tuple[str, ...]] = {}
        self._reads: dict[str, dict[str, tuple[int, int]]] = {}
        for definition in defs.assets or ():
            if not isinstance(definition, dg.AssetsDefinition):
                continue
            names = tuple(sorted(asset_key.path[-1] for asset_key in definition.keys))
            optional = _optional_history(definition)
            for spec in definition.specs:
                self._together[spec.key.path[-1]] = names
                self._reads[spec.key.path[-1]] = {
                    dep.asset_key.path[-1]: (0, 0) if dep.asset_key in optional else _offsets(dep.partition_mapping) for dep in spec.deps
                }
        self.order = self._sorted()

    def select(self, selection: str | None, defs: dg.Definitions) -> list[str]:
        """Names of a Dagster asset selection (`group:signals`, `ohlcv+`), or of every asset.

        Raises:
            SettingsError: the selection cannot be parsed or selects nothing.

        """
        if selection is None:
            return list(self.order)
        try:
            found = dg.AssetSelection.from_string(selection).resolve(defs.resolve_asset_graph())
        except (dg.DagsterError, ValueError) as error:
            raise SettingsError(f"selection '{selection}' is not valid: {' '.join(str(error).split())[:200]}") from None
        names = [name for name in self.order if dg.AssetKey(name) in found]
        if not names:
            raise SettingsError(f"selection '{selection}' selects no asset; assets are {', '.join(self.order)}")
        return names

    def sector_phases(self, names: Sequence[str], sector: str, first: str, last: str) -> list[Phase]:
        """Runs of one sector, warm-up included; partitions of the warm-up that exist are not computed again."""
        return self._phases([name for name in names if DATASETS[name].grain == "sector"], sector, first, last)

    def month_phases(self, names: Sequence[str], first: str, last: str) -> list[Phase]:
        """Runs of the month-grain assets; they read the sectors that are there."""
        return self._phases([name for name in names if DATASETS[name].grain == "month"], None, first, last)

    def _phases(self, names: Sequence[str], sector: str | None, first: str, last: str) -> list[Phase]:
        grain = "sector" if sector else "month"
        needed: dict[str, Range] = dict.fromkeys(names, (first, last))
        for name in reversed(self.order):
            if name not in needed:
                continue
            for upstream, (start, end) in self._reads[name].items():
                if DATASETS[upstream].grain != grain:
                    continue
                wanted = self._clip(shift_month(needed[name][0], start), shift_month(needed[name][1], end))
                needed[upstream] = _hull(needed.get(upstream), wanted)
        todo: dict[str, Range] = {}
        for name, (begin, finish) in needed.items():
            months = set(month_range(first, last)) if name in names else set()
            keys = {(key(sector, month) if sector else month): month for month in month_range(begin, finish)}
            months |= {keys[absent] for absent in self._profile.store.missing(DATASETS[name], keys)}
            if months:
                todo[name] = (min(months), max(months))
        for group in {self._together[name] for name in todo}:
            span: Range | None = None
            for name in group:
                span = _hull(span, todo[name]) if name in todo else span
            if span is not None:
                todo.update(dict.fromkeys(group, span))
        return self._grouped(todo, sector)

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
            phases.append(Phase(tuple(group), *span, sector))
            done |= set(group)
            waiting = [name for name in waiting if name not in done]
        return phases

    def _clip(self, first: str, last: str) -> Range:
        begin, finish = self._profile.months.clip(first, last, self._profile.last_month())
        return (begin, max(begin, finish))

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

        for name in DATASETS:
            if name in self._together:
                visit(name)
        return tuple(order)


def _offsets(mapping: dg.PartitionMapping | None) -> tuple[int, int]:
    """Month offsets that a mapping reads; (0, 0) for the same partition."""
    if isinstance(mapping, dg.MultiPartitionMapping):
        mapping = mapping.downstream_mappings_by_upstream_dimension["month"].partition_mapping
    if isinstance(mapping, dg.TimeWindowPartitionMapping):
        return mapping.start_offset, mapping.end_offset
    return 0, 0


def _optional_history(definition: dg.AssetsDefinition) -> set[dg.AssetKey]:
    """Inputs whose earlier partitions may be absent: no run is made for their sake."""
    inputs = definition.node_def.input_dict if definition.is_executable else {}
    found = {name for name, each in inputs.items() if (each.metadata or {}).get("absent") in ("before", "skip")}
    return {asset_key for name, asset_key in definition.keys_by_input_name.items() if name in found}


def _hull(one: Range | None, other: Range) -> Range:
    return other if one is None else (min(one[0], other[0]), max(one[1], other[1]))


def total_outputs(phases: Iterable[Phase]) -> int:
    """Partitions that the phases write: the length of a progress bar."""
    return sum(phase.outputs for phase in phases)
