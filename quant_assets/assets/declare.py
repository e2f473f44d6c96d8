"""Declaration of assets: a function, the dataset that it fills and its inputs become an asset of Dagster.

Partitions, schema, owner and description come from the registry, the arguments of the function from its signature
(`asset_functions`). No computation.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import dagster as dg
import polars as pl

from quant_assets.asset_functions import Run, handed, lazy_inputs, missing_inputs, parameters
from quant_assets.grains import DAY
from quant_assets.io.blocks import Blocks, divided, in_months, row_bytes, rows_by_month
from quant_assets.partitions import RunPartitions, history, key, lag, month_offsets, shift_month
from quant_assets.profile import Profile
from quant_assets.schemas import Dataset

OWNERS = ["team:quant-assets"]

#: Newest months of a run that get a picture; drawing one takes a quarter of a second.
PICTURED_MONTHS = 3

#: Group of the month-grain assets: one Dagster command cannot mix the grains, so no other group does.
ACROSS_SECTORS = "across_sectors"

#: Descriptions of the groups. Dagster has none, so the description of every asset includes that of its group.
GROUPS = {
    "market": "market data, checked, dated and adjusted: index members, price bars, statements, news",
    "signals": "computed from prices: indicators, features, labels, candidates",
    "learning": "trained models, their forecasts, and the drift of their inputs",
    "portfolio": "scores, weights, their backtest, trades and orders",
    "risk": "value at risk, its sources, and the test of past forecasts",
    "operations": "the report of the sector: figures and a page",
    "research": "predictive power of each factor: by month, over years with a page, across sectors",
    "sql": "SQL models, one per file of dbt_like_sql",
    ACROSS_SECTORS: "data that span sectors, by month: macro, the market, the total portfolio",
    "live": "the ledger: forecasts and decisions recorded at the close of a day and never changed",
    "live_report": "the page of a day, made from the ledger alone",
    "audit": "the look-ahead audit, which runs only on request",
}


@dataclass(frozen=True)
class Asset:
    """A function and the dataset that it fills.

    Attributes:
        name: of the dataset, or of several that one function computes together, as a dict of frames.
        compute: the asset function; `asset_functions` says what it may take.
        reads: its inputs, by the name of the dataset.
        kinds: labels in the web UI.
        together: name of a function that fills several datasets.
        given: constant arguments, by parameter.
        follows: digests, by name, of other inputs of the rows, such as the text of a SQL model.
        settings: dotted names of settings that are passed in `given`.
        sized_by: an input whose number of rows sets the months of a block; only for assets whose rows depend on the
            months of their windows alone, so that a long range can be computed and written in blocks.
        times: rows per row of that input.
        pool: Dagster's pool of a step: only for trainings.

    """

    name: str | tuple[str, ...]
    compute: Callable[..., Any]
    reads: Mapping[str, dg.AssetIn] = field(default_factory=dict)
    kinds: Sequence[str] = ("polars",)
    together: str | None = None
    given: Mapping[str, Any] = field(default_factory=dict)
    follows: Mapping[str, str] = field(default_factory=dict)
    settings: tuple[str, ...] = ()
    sized_by: str | None = None
    times: int = 1
    pool: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The datasets that it fills."""
        return (self.name,) if isinstance(self.name, str) else self.name

    @property
    def windows(self) -> dict[str, tuple[int, int]]:
        """First and last month of each input, relative to a partition's."""
        return {name: month_offsets(each.partition_mapping) for name, each in self.reads.items()}


def declared(profile: Profile, group: str, *assets: Asset) -> list[dg.AssetsDefinition]:
    """Dagster's assets of a group; those by month that span sectors belong to `ACROSS_SECTORS`.

    Raises:
        TypeError: a parameter of a function has no supported annotation; names both and the supported ones.

    """
    return [_defined(profile, group, asset) for asset in assets]


def read(
    mapping: dg.PartitionMapping | None = None,
    *,
    absent: Literal["skip", "before", "future", "carried", "any", "stored"] | None = None,
) -> dg.AssetIn:
    """An input: the same partition, or those of a mapping. `absent` is explained at `ParquetIOManager`."""
    return dg.AssetIn(partition_mapping=mapping, metadata={"absent": absent} if absent else None)


def _defined(profile: Profile, group: str, asset: Asset) -> dg.AssetsDefinition:
    for name, each in parameters(asset.compute).items():
        if each.kind == "given" and name not in asset.given:
            raise TypeError(
                f"parameter '{name}' of asset function {asset.compute.__module__}.{asset.compute.__qualname__} has an "
                "annotation that nothing is handed for, and the asset's `given` lacks it; take a group of settings, "
                "Annotated[…, Setting(…)], a Protocol of sources.base, Run, FeatureLibrary, Models, TrialLog, "
                "TrainingOrders, Profile, `sector: str`, pl.DataFrame or pl.LazyFrame"
            )
    grain = profile.every_dataset[asset.names[0]].grain
    shared: dict[str, Any] = {
        "group_name": group if grain.by_sector or grain.period == DAY else ACROSS_SECTORS,
        "partitions_def": profile.months.definition(grain, profile.settings.live.go_live),
        "backfill_policy": dg.BackfillPolicy.single_run(),
        "ins": dict(asset.reads),
        "pool": asset.pool,
    }
    kinds = {*asset.kinds, "parquet"}
    if isinstance(asset.name, str):
        matures = max((last for _, last in asset.windows.values()), default=0)

        def at_once(context: dg.AssetExecutionContext, **inputs: pl.LazyFrame) -> pl.DataFrame:
            partitions = RunPartitions.from_keys(context.partition_keys)
            found: pl.DataFrame = _rows(profile, asset, context, partitions, inputs)
            return found

        def in_blocks(context: dg.AssetExecutionContext, **inputs: pl.LazyFrame) -> Blocks:
            return Blocks(_blocks(profile, asset, context, inputs))

        one: Callable[..., Any] = in_blocks if asset.sized_by else at_once
        one.asset = asset  # type: ignore[attr-defined]
        about = _common(profile, asset.name, shared["group_name"], max(matures, 0))
        definition: dg.AssetsDefinition = dg.asset(name=asset.name, kinds=kinds, **shared, **about)(one)
        return definition

    def several(context: dg.AssetExecutionContext, **inputs: pl.LazyFrame) -> Iterator[dg.Output[pl.DataFrame]]:
        rows = _rows(profile, asset, context, RunPartitions.from_keys(context.partition_keys), inputs)
        for name in asset.names:
            yield dg.Output(rows.pop(name), output_name=name)

    several.asset = asset  # type: ignore[attr-defined]
    outs = {name: dg.AssetOut(kinds=kinds, **_common(profile, name, shared["group_name"])) for name in asset.names}
    return dg.multi_asset(name=asset.together, outs=outs, **shared)(several)


def _blocks(
    profile: Profile,
    asset: Asset,
    context: dg.AssetExecutionContext,
    inputs: Mapping[str, pl.LazyFrame],
) -> Iterator[tuple[list[str], pl.DataFrame]]:
    """Keys and rows of blocks: all sectors together if they fit into one block, else one sector at a time."""
    partitions, sized_by = RunPartitions.from_keys(context.partition_keys), asset.sized_by or ""
    size = row_bytes(*(profile.every_dataset[name] for name in (*asset.names, sized_by))) * asset.times
    sizing = inputs[sized_by]
    whole = divided(partitions.months, rows_by_month(sizing), size)
    sectors: list[tuple[str, ...]] = [(sector,) for sector in partitions.sectors]
    if len(whole) == 1 or not sectors:
        sectors = [partitions.sectors]
    for each in sectors:
        own = sizing.filter(pl.col("sector").is_in(each)) if each else sizing
        for months in whole if len(sectors) == 1 else divided(partitions.months, rows_by_month(own), size):
            read = {
                name: inputs[name].filter(in_months(shift_month(months[0], first), shift_month(months[-1], last)))
                for name, (first, last) in asset.windows.items()
            }
            block = RunPartitions(each, months)
            yield block.keys, _rows(profile, asset, context, block, read)


def _rows(
    profile: Profile,
    asset: Asset,
    context: dg.AssetExecutionContext,
    partitions: RunPartitions,
    inputs: Mapping[str, pl.LazyFrame],
) -> Any:
    if profile.on_begun is not None:
        months = dict.fromkeys((partitions.months[0], partitions.months[-1]))
        where = [*partitions.sectors, " to ".join(months)]
        profile.on_begun(f"{', '.join(asset.names)} ({', '.join(where)})")
    run = Run(profile, partitions, context, asset.windows)
    expected = parameters(asset.compute)
    ready = handed(asset.compute, profile) | dict(asset.given)
    ready |= {name: run for name, each in expected.items() if each.kind == "run"}
    ready |= dict.fromkeys(missing_inputs(asset.compute, inputs))
    lazy = lazy_inputs(asset.compute, inputs)
    if not any(each.kind == "sector" for each in expected.values()):
        frames = {name: each if name in lazy else each.collect() for name, each in inputs.items()}
        return asset.compute(**ready, **frames)
    return run.by_sector(lambda sector, **frames: asset.compute(sector=sector, **ready, **frames), lazy, **inputs)


def _common(profile: Profile, name: str, group: str, matures_months: int = 0) -> dict[str, Any]:
    """Common arguments of `asset` and `AssetOut` for a dataset; `matures_months` is its reach into the future."""
    dataset = profile.every_dataset[name]
    return {
        "description": f"{_description(dataset)}\n\nGroup {group}: {GROUPS[group]}.",
        "owners": OWNERS,
        "io_manager_key": "parquet",
        "metadata": {
            "dagster/column_schema": _column_schema(dataset),
            "dagster/uri": f"{profile.store.url}/{name}",
            "known_at": dataset.known_at,
            "matures_months": matures_months,
        },
    }


def _column_schema(dataset: Dataset) -> dg.TableSchema:
    """Column names, types and meanings for the web UI."""
    columns = []
    for name, column in dataset.columns.items():
        unit = f" [{column.unit}]" if column.unit else ""
        columns.append(
            dg.TableColumn(
                name=name,
                type=str(column.dtype),
                description=f"{column.meaning}{unit}",
                constraints=dg.TableColumnConstraints(nullable=column.nullable, unique=False),
            )
        )
    return dg.TableSchema(columns=columns)


def _description(dataset: Dataset) -> str:
    """Description of an asset: meaning, key and time contract."""
    meanings = "".join(
        f"\n\n| {name} | what it is |\n|---|---|\n"
        + "\n".join(f"| `{value}` | {meaning} |" for value, meaning in column.values.items())
        for name, column in dataset.columns.items()
        if column.values
    )
    return (
        f"{dataset.meaning}.\n\nKey: {', '.join(dataset.key)}. A row belongs to the {dataset.grain.period.name} of "
        f"`{dataset.dated_by}` "
        f"and was known at `{dataset.known_at}`.{meanings}"
    )


def carried(*, by_sector: bool = True) -> dg.AssetIn:
    """An asset's own previous month, if it is stored: the input of assets that depend on their own past.

    The asset function iterates over the run's months with `Run.walked`. Missing earlier months are not computed for
    it, so rows must contain their own starting point.
    """
    return read(lag(1) if by_sector else history(1, 1), absent="carried")


def newest_keys(run: RunPartitions, count: int = 12) -> list[str]:
    """Keys of the run's last `count` months, which get texts and pictures as metadata.

    For hundreds of months they would fill the event log, and a picture takes a fifth of a second. Which partitions have
    one depends on the run, but its content depends only on the partition.
    """
    months = run.months[-count:]
    return [key(sector, month) for sector in run.sectors for month in months] or list(months)
