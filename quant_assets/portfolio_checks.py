"""Asset check of the weights: whether stored weights are within the limits of the settings."""

import dagster as dg
import polars as pl

from quant_assets.errors import DatasetError
from quant_assets.market.calendar import sessions
from quant_assets.partitions import (
    RunPartitions,
    key,
    month_end,
    month_range,
    month_start,
    months_covering,
    shift_month,
)
from quant_assets.portfolio.book import broken_limits
from quant_assets.portfolio.constraints import TURNOVER
from quant_assets.portfolio.history import History, lookback_sessions, needs_betas
from quant_assets.profile import Profile

#: Lines of a check's text; the rest are counted.
_SHOWN = 10

WITHIN_LIMITS = "within_limits"


def portfolio_checks(profile: Profile) -> list[dg.AssetChecksDefinition]:
    """`within_limits` of dataset weights."""

    @dg.asset_check(
        name=WITHIN_LIMITS,
        asset="weights",
        blocking=True,
        description="weights are within weights.max_weight, the book and weights.constraints",
    )
    def within_limits(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        partitions = RunPartitions.from_keys(context.op_execution_context.partition_keys)
        rows, broken = 0, []
        for sector in partitions.sectors:
            try:
                count, lines = _of_sector(profile, sector, partitions.months)
            except DatasetError as error:  # reported by the checks of the schema
                count, lines = 0, [str(error)]
            rows += count
            broken += [f"{sector} {line}" for line in lines]
        more = f"; and {len(broken) - _SHOWN} more" if len(broken) > _SHOWN else ""
        # Turnover must exceed its limit if names leave the sector or prices move holdings beyond another limit. Rows
        # downstream stay valid.
        only_turnover = all(TURNOVER in line for line in broken)
        return dg.AssetCheckResult(
            passed=not broken,
            severity=dg.AssetCheckSeverity.WARN if only_turnover else dg.AssetCheckSeverity.ERROR,
            description=f"{'; '.join(broken[:_SHOWN])}{more}" or None,
            metadata={"rows": rows, "breaches": len(broken)},
        )

    return [within_limits]


def _of_sector(profile: Profile, sector: str, months: tuple[str, ...]) -> tuple[int, list[str]]:
    """Number of rows, and the limits that they break."""
    settings = profile.settings.weights
    weights = _rows(profile, "weights", sector, months)
    indicators = _rows(profile, "indicators", sector, months)
    if not needs_betas(settings) and settings.constraints.max_turnover is None:
        return len(weights), broken_limits(weights, indicators, settings)
    first = shift_month(months[0], -months_covering(lookback_sessions(settings)))
    window = month_range(max(first, profile.months.start), months[-1])
    days = sessions(month_start(first), min(month_end(months[-1]), profile.last_session()))
    prices, universe = (_rows(profile, name, sector, tuple(window)) for name in ("prices", "universe"))
    previous = _rows(profile, "weights", sector, (shift_month(months[0], -1),))
    history = History(prices, universe, indicators, days)
    lag = profile.settings.labels.entry_lag
    return len(weights), broken_limits(weights, indicators, settings, history, previous, lag)


def _rows(profile: Profile, name: str, sector: str, months: tuple[str, ...]) -> pl.DataFrame:
    """The rows of a dataset in its stored months."""
    dataset = profile.datasets[name]
    wanted = {key(sector, month) for month in months}
    stored = wanted - set(profile.store.missing(dataset, wanted))
    return profile.store.read(dataset, stored).collect().drop("sector", "month")
