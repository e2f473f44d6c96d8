"""Months of a few names as the store holds them, made by hand for what is said of single sessions: to compute them
would take minutes."""

import zlib
from collections.abc import Callable, Iterable, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl

from quant_assets.assets.live import BEHIND, READ
from quant_assets.graph import build_defs
from quant_assets.market.calendar import sessions
from quant_assets.partitions import key, month_end, month_of, month_start
from quant_assets.profile import Profile
from quant_assets.provenance.record import PartitionRecorder
from quant_assets.schemas import Dataset
from quant_assets.settings.loading import Settings, load_settings
from quant_assets_tests.graph import SMALL

SECTORS = ("healthcare", "it")
NAMES = [f"T{place:02d}" for place in range(12)]
#: The ledger begins three sessions before a month's end; the last session is the third of the next month.
GO_LIVE, LAST = date(2024, 6, 26), date(2024, 7, 3)
DAYS = (date(2024, 6, 26), date(2024, 6, 27), date(2024, 6, 28), date(2024, 7, 1), date(2024, 7, 2), date(2024, 7, 3))

Change = Callable[[str, str, pl.DataFrame], pl.DataFrame]


def live_settings(storage: Path, as_of: date = LAST, **overrides: Any) -> Settings:
    live = {"go_live": GO_LIVE, "sectors": SECTORS} | overrides.pop("live", {})
    return load_settings("demo", **{**SMALL, "storage": str(storage), "as_of": as_of, "live": live, **overrides})


def rows_of(dataset: Dataset, sector: str, days: Sequence[date], model: str = "lightgbm") -> pl.DataFrame:
    """A row for each name and session (and horizon, of predictions); numbers differ by column, name and day."""
    base = pl.DataFrame({"ticker": pl.Series(NAMES)}).join(
        pl.DataFrame({"date": pl.Series(days, dtype=pl.Date)}), how="cross"
    )
    if dataset.name == "predictions":
        base = base.join(pl.DataFrame({"horizon": pl.Series([5, 20], dtype=pl.Int32)}), how="cross")
    found = [pl.lit(sector).alias("sector")]
    for name, column in dataset.columns.items():
        if name in base.columns:
            found.append(pl.col(name).cast(column.dtype))
        elif column.dtype == pl.Float64:
            seeds = [zlib.crc32(f"{sector} {name} {row}".encode()) for row in base.rows()]
            values = np.random.default_rng(1).random(1)[0] + np.array(seeds) / 2**32
            found.append(pl.Series(name, values * 0.1))
        elif column.dtype == pl.Date:
            found.append(pl.col("date").alias(name))
        else:
            fixed = {
                "model": model,
                "garch_status": "fitted",
                "model_version": f"{sector[:2]}-v1",
                "history_sessions": 252,
            }
            given = None if column.nullable else fixed.get(name, 1 if column.dtype.is_numeric() else None)
            if column.dtype == pl.Boolean:
                given = False
            elif column.dtype == pl.String and given is None and not column.nullable:
                given = column.isin[0] if column.isin else "x"
            found.append(pl.lit(given, column.dtype).alias(name))
    rows = base.select(found)
    if dataset.name == "indicators":
        rows = rows.with_columns(garch_volatility=pl.col("garch_volatility") + 0.2, dollar_volume=pl.lit(1e9))
    if dataset.name == "predictions":
        rows = rows.with_columns(
            prob_up=pl.lit(0.6),
            prediction_lower=pl.col("prediction") - 0.1,
            prediction_upper=pl.col("prediction") + 0.1,
            model_version=pl.lit(f"{sector[:2]}-v1"),
        )
    return rows


def months_written(
    profile: Profile,
    through: date,
    *,
    first: date = GO_LIVE,
    sectors: Iterable[str] = SECTORS,
    change: Change = lambda name, sector, rows: rows,
) -> None:
    """What decisions read, of the months from `first` to `through`, as it is known at `through`."""
    recorder: PartitionRecorder = (build_defs(profile).resources or {})["parquet"].recorder
    for sector in sectors:
        month = month_start(month_of(first))
        while month <= through:
            last = min(month_end(month_of(month)), through)
            days = sessions(month, last).tolist()
            for name in (*READ, *BEHIND):
                dataset, place = profile.datasets[name], key(sector, month_of(month))
                dated = name in READ
                rows = rows_of(dataset, sector, days) if dated else dataset.empty()
                made_by = recorder.made_by(name, {})
                profile.store.write(
                    dataset, change(name, sector, rows), [place], lambda _, last=last: days_last(last), made_by
                )
            month = month_start(month_of(date.fromordinal(month_end(month_of(month)).toordinal() + 1)))


def days_last(day: date) -> date:
    found: date = sessions(date(2024, 1, 2), day).tolist()[-1]
    return found


def materialised(profile: Profile, name: str, first: date, last: date, sectors: Sequence[str] = ()) -> tuple[bool, str]:
    """Run an asset by day over a range; whether it succeeded, and what the first failing step said."""
    defs = build_defs(profile)
    job = defs.resolve_implicit_global_asset_job_def().get_subset(asset_selection={dg.AssetKey(name)})
    keys = [key(sector, str(day)) for sector, day in zip(sectors or [None], [first], strict=False)]
    ends = [keys[0], key(sectors[-1] if sectors else None, str(last))]
    tags = dict(zip(("dagster/asset_partition_range_start", "dagster/asset_partition_range_end"), ends, strict=True))
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance, tags=tags, run_config=quiet, raise_on_error=False)
    said = ""
    for event in result.all_events:
        if event.is_step_failure and not said:
            error = event.step_failure_data.error
            while error is not None and error.cause is not None:
                error = error.cause
            said = error.message.strip() if error is not None else ""
    return result.success, said
