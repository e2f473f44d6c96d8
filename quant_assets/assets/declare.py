"""How an asset is declared: partitions, schema, owner, group and kinds from the registry, and the loop over sectors.

No computation: the domain functions get one sector's frames at a time and return that sector's rows.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import date
from typing import Any, Literal

import dagster as dg
import numpy as np
import polars as pl
from numpy.typing import NDArray

from quant_assets.errors import DatasetError
from quant_assets.market.calendar import sessions
from quant_assets.partitions import (
    RunPartitions,
    history,
    key,
    lag,
    month_end,
    month_offsets,
    month_start,
    shift_month,
)
from quant_assets.profile import Profile
from quant_assets.schemas import Dataset

OWNERS = ["team:quant-assets"]

#: Newest months of a run of which a picture is drawn.
PICTURED_MONTHS = 3

#: Group of the month-grain assets: one Dagster command cannot mix the grains, so no other group does.
ACROSS_SECTORS = "across_sectors"


def column_schema(dataset: Dataset) -> dg.TableSchema:
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


def describe_dataset(dataset: Dataset) -> str:
    """Description of an asset: meaning, key and time contract."""
    return (
        f"{dataset.meaning}.\n\nKey: {', '.join(dataset.key)}. A row belongs to the month of `{dataset.dated_by}` "
        f"and was known at `{dataset.known_at}`."
    )


def common(profile: Profile, name: str, matures_months: int = 0) -> dict[str, Any]:
    """Arguments that `asset` and `AssetOut` share for a dataset; `matures_months` is how far ahead it looks."""
    dataset = profile.every_dataset[name]
    return {
        "description": describe_dataset(dataset),
        "owners": OWNERS,
        "io_manager_key": "parquet",
        "metadata": {
            "dagster/column_schema": column_schema(dataset),
            "dagster/uri": f"{profile.store.url}/{name}",
            "known_at": dataset.known_at,
            "matures_months": matures_months,
        },
    }


def dataset_asset(
    profile: Profile,
    name: str,
    *,
    group: str,
    kinds: Sequence[str],
    ins: Mapping[str, dg.AssetIn] | None = None,
) -> Callable[[Callable[..., Any]], dg.AssetsDefinition]:
    """Decorator: the asset of a dataset at its grain, range runs in one run."""
    months = profile.months
    matures = max((month_offsets(each.partition_mapping)[1] for each in (ins or {}).values()), default=0)
    decorate: Callable[[Callable[..., Any]], dg.AssetsDefinition] = dg.asset(
        name=name,
        group_name=group,
        kinds={*kinds, "parquet"},
        partitions_def=months.by_sector if profile.every_dataset[name].grain == "sector" else months.monthly,
        backfill_policy=dg.BackfillPolicy.single_run(),
        ins=ins,
        **common(profile, name, max(matures, 0)),
    )
    return decorate


def read(
    mapping: dg.PartitionMapping | None = None, *, absent: Literal["skip", "before", "future", "carried"] | None = None
) -> dg.AssetIn:
    """An input: the same partition, or those of a mapping. `absent` is explained at `ParquetIOManager`."""
    return dg.AssetIn(partition_mapping=mapping, metadata={"absent": absent} if absent else None)


def carried(*, by_sector: bool = True) -> dg.AssetIn:
    """An asset's own month before, as far as it is stored: the input of what depends on its own past.

    The asset function walks the run's months with `walked`. No run is made for the sake of months before the run's, so
    that rows must tell where they begin to count.
    """
    return read(lag(1) if by_sector else history(1, 1), absent="carried")


def walked(run: RunPartitions, stored: pl.DataFrame, step: Callable[[str, pl.DataFrame], pl.DataFrame]) -> pl.DataFrame:
    """Rows of the run's months, each month's from those of the month before: a range equals its months.

    Args:
        run: its months are walked in order.
        stored: the asset's rows of the month before the run's first, none where they are not stored.
        step: gives a month's rows from its key and the rows of the month before.

    """
    parts = [stored]
    for month in run.months:
        parts.append(step(month, parts[-1]).cast(dict(stored.schema)))  # type: ignore[arg-type]
    return pl.concat(parts[1:])


def run_partitions(context: dg.AssetExecutionContext) -> RunPartitions:
    """The partitions that this run materialises."""
    return RunPartitions.from_keys(context.partition_keys)


def panel_sessions(profile: Profile, run: RunPartitions, before: int, after: int = 0) -> NDArray[np.datetime64]:
    """Closed sessions of the run's months, the `before` months before them and the `after` months after."""
    first = shift_month(run.months[0], -before)
    last: date = min(month_end(shift_month(run.months[-1], after)), profile.last_session())
    return sessions(month_start(first), last)


def tell(
    context: dg.AssetExecutionContext,
    rows: pl.DataFrame,
    dated_by: str,
    figures: Callable[[pl.DataFrame], Mapping[str, float | str | None]],
    *,
    by_sector: bool = True,
) -> None:
    """Figures of each partition for the web UI: of its rows alone, so that they are the same however it was run.

    A figure that covers more than the partition's month says so in its name (`sharpe_to_date`).

    Args:
        context: of the run.
        rows: of all its partitions.
        dated_by: the column that decides the partition of a row.
        figures: gives them for the rows of a partition, never none; those that are None are left out.
        by_sector: whether partitions are of a sector.

    """
    months = rows.with_columns(__month=pl.col(dated_by).dt.strftime("%Y-%m"))
    by = ["__month", "sector"] if by_sector else ["__month"]
    for (month, *sector), part in months.partition_by(by, as_dict=True, include_key=not by_sector).items():
        context.add_asset_metadata(
            readable(figures(part)), partition_key=key(str(sector[0]), str(month)) if sector else str(month)
        )


def readable(figures: Mapping[str, float | str | None]) -> dict[str, float | str]:
    """Figures without those that are not defined, rounded for reading."""
    return {
        name: round(value, 6) if isinstance(value, float) else value
        for name, value in figures.items()
        if value is not None
    }


def newest_keys(run: RunPartitions, count: int = 12) -> list[str]:
    """Keys of the run's last `count` months, with which texts and pictures are recorded.

    With each of hundreds they would fill the event log, and a picture takes a fifth of a second. What they show is of
    the partition, never of the run: which partitions have one depends on the run, what it says does not.
    """
    months = run.months[-count:]
    return [key(sector, month) for sector in run.sectors for month in months] or list(months)


def for_each_sector(
    run: RunPartitions, name: str, compute: Callable[..., pl.DataFrame], **inputs: pl.LazyFrame
) -> pl.DataFrame:
    """Call `compute(sector, **frames)` with each sector's rows and stack what it returns.

    The frames come without `sector` and `month`; the result gets `sector` back.

    Raises:
        DatasetError: sectors give other columns or types.

    """
    results: list[pl.DataFrame] = []
    for sector in run.sectors:
        results.append(compute(sector, **one_sector(sector, **inputs)).with_columns(sector=pl.lit(sector)))
        if results[-1].schema != results[0].schema:
            raise DatasetError(
                f"dataset '{name}': {sector} gives {results[-1].schema}, the sectors before {results[0].schema}"
            )
    return pl.concat(results)


def one_sector(sector: str, **inputs: pl.LazyFrame) -> dict[str, pl.DataFrame]:
    """The rows of one sector of each input."""
    frames = {
        label: frame.filter(pl.col("sector") == sector).drop("sector", "month") for label, frame in inputs.items()
    }
    return dict(zip(frames, pl.collect_all(list(frames.values())), strict=True))
