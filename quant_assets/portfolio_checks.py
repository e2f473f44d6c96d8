"""Asset check of the weights: whether stored weights are within the limits of the settings."""

from collections.abc import Sequence

import dagster as dg
import polars as pl

from quant_assets.check_results import Results, alone_or_all, check_results, others_hold
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

#: Lines of a partition's text; the rest are counted.
_MOST = 10

WITHIN_LIMITS = "within_limits"


def portfolio_checks(profile: Profile) -> list[dg.AssetChecksDefinition]:
    """`within_limits` of dataset weights."""
    spec = dg.AssetCheckSpec(
        WITHIN_LIMITS,
        asset="weights",
        blocking=True,
        description="weights are within weights.max_weight, the book and weights.constraints",
    )

    @dg.multi_asset_check(name=f"weights_{WITHIN_LIMITS}", specs=[spec])
    def within_limits(context: dg.AssetCheckExecutionContext) -> Results:
        keys = context.op_execution_context.partition_keys
        partitions = RunPartitions.from_keys(keys)
        rows = 0
        failing: dict[str, Sequence[str]] = {}
        for sector in partitions.sectors:
            count, lines = _or_error(profile, sector, partitions.months)
            rows += count
            months = {key(sector, month): month for month in partitions.months}
            failing |= alone_or_all(
                list(months),
                lines,
                lambda label: _or_error(profile, sector, (months[label],))[1],  # noqa: B023
            )
        # More than may be traded has to be where names leave the sector, or prices take holdings beyond another limit;
        # nothing downstream is wrong by it.
        only_turnover = all(TURNOVER in line for lines in failing.values() for line in lines)
        yield from check_results(
            spec,
            {label: _shown(lines) for label, lines in failing.items()},
            others=others_hold(profile, profile.datasets["weights"], keys, failing),
            severity=dg.AssetCheckSeverity.WARN if only_turnover else dg.AssetCheckSeverity.ERROR,
            metadata={"rows": rows, "breaches": sum(map(len, failing.values()))},
        )

    return [within_limits]


def _shown(lines: Sequence[str]) -> list[str]:
    more = [f"and {len(lines) - _MOST} more"] if len(lines) > _MOST else []
    return [*lines[:_MOST], *more]


def _or_error(profile: Profile, sector: str, months: tuple[str, ...]) -> tuple[int, list[str]]:
    try:
        return _of_sector(profile, sector, months)
    except DatasetError as error:  # the checks of its schema say more
        return 0, [str(error)]


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
