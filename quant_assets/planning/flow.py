"""The graph of the assets, from their definitions: inputs with their windows of months, and asset selections."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import dagster as dg

from quant_assets.dagster_internals import input_metadata
from quant_assets.errors import UsageError, did_you_mean
from quant_assets.partitions import month_offsets
from quant_assets.schemas import Dataset

#: First and last month of an input, relative to the reader's month.
Window = tuple[int, int]


@dataclass(frozen=True)
class Flow:
    """The assets of a profile and their dependencies.

    Attributes:
        order: names, upstream first.
        together: by asset, the assets that the same step computes.
        windows: by asset, the windows of its inputs.
        optional: by asset, the inputs whose earlier partitions may be missing: no run is planned for them unless a
            stored one is unfinished.
        carried: assets that read their own previous month, if it is stored.
        matures: by asset, the months by which it looks ahead.
        groups: of Dagster, in order of appearance.

    """

    order: tuple[str, ...]
    together: Mapping[str, tuple[str, ...]]
    windows: Mapping[str, Mapping[str, Window]]
    optional: Mapping[str, frozenset[str]]
    carried: frozenset[str]
    matures: Mapping[str, int]
    groups: tuple[str, ...]

    @classmethod
    def of(cls, defs: dg.Definitions, datasets: Mapping[str, Dataset]) -> "Flow":
        """Build it from definitions; assets that only run on demand (other datasets) are left out."""
        together: dict[str, tuple[str, ...]] = {}
        windows: dict[str, dict[str, Window]] = {}
        optional: dict[str, frozenset[str]] = {}
        carried: set[str] = set()
        matures: dict[str, int] = {}
        groups: dict[str, None] = {}
        for definition in defs.assets or ():
            if not isinstance(definition, dg.AssetsDefinition):
                continue
            names = {asset_key.path[-1] for asset_key in definition.keys}
            if not names <= set(datasets):
                continue
            absent = {
                definition.keys_by_input_name[name].path[-1]
                for name, each in input_metadata(definition).items()
                if each.get("absent") in ("before", "skip", "stored")
            }
            for spec in definition.specs:
                name = spec.key.path[-1]
                together[name] = tuple(sorted(names, key=list(datasets).index))
                windows[name] = {dep.asset_key.path[-1]: month_offsets(dep.partition_mapping) for dep in spec.deps}
                if windows[name].pop(name, None):
                    carried.add(name)
                optional[name] = frozenset(absent & windows[name].keys())
                matures[name] = spec.metadata["matures_months"]
                groups[spec.group_name or "default"] = None
        order = _sorted([name for name in datasets if name in together], together, windows)
        return cls(order, together, windows, optional, frozenset(carried), matures, tuple(groups))

    def required(self, name: str) -> Mapping[str, Window]:
        """The required inputs of an asset: of optional history only the asset's own months."""
        return {each: (0, 0) if each in self.optional[name] else both for each, both in self.windows[name].items()}

    def select(self, selection: str | None, defs: dg.Definitions) -> list[str]:
        """Names of an asset selection, or of every asset; for the syntax see `Planner.select`."""
        if selection is None:
            return list(self.order)
        parts = selection.split(",")
        stretches, others = [part for part in parts if ".." in part], [part for part in parts if ".." not in part]
        chosen = {name for part in stretches for name in self._stretch(part)}
        try:
            with warnings.catch_warnings():
                # Dagster's own code for `group:` uses a parameter that is beta.
                warnings.simplefilter("ignore", dg.BetaWarning)
                selected = (
                    dg.AssetSelection.from_coercible(others).resolve(defs.resolve_asset_graph()) if others else set()
                )
        except (dg.DagsterError, ValueError, NotImplementedError):
            selected, chosen = set(), set()
        names = [name for name in self.order if name in chosen or dg.AssetKey(name) in selected]
        if not names:
            raise UsageError(
                f"selection '{selection}' is not valid or selects nothing; write 'ohlcv,prices', 'ohlcv..labels', "
                "'indicators+', 'group:signals' or 'group:signals and not key:labels'; groups are "
                f"{', '.join(self.groups)}; assets are {', '.join(self.order)}"
            )
        return names

    def _stretch(self, part: str) -> tuple[str, ...]:
        """The assets of `first..last`, both included."""
        ends = [name.strip() for name in part.split("..")]
        unknown = [name for name in ends if name not in self.order]
        if len(ends) != 2 or unknown:
            what = (
                f"there is no asset '{unknown[0]}'{did_you_mean(unknown[0], self.order)}"
                if unknown and len(ends) == 2
                else "it needs two assets"
            )
            raise UsageError(
                f"selection '{part}': {what}; write 'ohlcv..labels'; assets in order are {', '.join(self.order)}"
            )
        start, stop = (self.order.index(name) for name in ends)
        if start > stop:
            raise UsageError(f"selection '{part}': {ends[0]} comes after {ends[1]}; write '{ends[1]}..{ends[0]}'")
        return self.order[start : stop + 1]


def _sorted(
    names: list[str], together: Mapping[str, tuple[str, ...]], windows: Mapping[str, Mapping[str, Window]]
) -> tuple[str, ...]:
    order: list[str] = []

    def visit(name: str) -> None:
        if name in order:
            return
        for member in together[name]:
            for upstream in windows[member]:
                if upstream not in together[name]:
                    visit(upstream)
        order.extend(together[name])

    for name in names:
        visit(name)
    return tuple(order)
