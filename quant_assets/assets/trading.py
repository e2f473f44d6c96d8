"""Trading of decided weights: trades, positions, costs, attribution, benchmark, and sleeves."""

from dataclasses import replace
from typing import Annotated

import dagster as dg
import polars as pl

from quant_assets.asset_functions import Run, Setting
from quant_assets.assets.declare import Asset, carried, declared, read
from quant_assets.assets.portfolio import EntryLag, Start, decisions_held, portfolio_simulated
from quant_assets.backtest.account import account, by_sector
from quant_assets.backtest.benchmark import benchmark_rows, with_index
from quant_assets.backtest.simulation import lookback_months, simulated
from quant_assets.partitions import all_sectors, history, lookback, month_of, months_covering
from quant_assets.portfolio.orders import decided_orders, quoted_sessions
from quant_assets.portfolio.sleeves import lookback_sessions
from quant_assets.portfolio.sleeves import sleeve_allocation as allocated
from quant_assets.profile import Profile
from quant_assets.settings.trading import BacktestSettings, OrderSettings, SleeveSettings
from quant_assets.sources.base import Indices, Source
from quant_assets.sources.registry import said_absent

#: Datasets that one simulation fills.
BOOK = ("trades", "positions", "backtest_costs", "attribution", "turnover")


def trading_assets(profile: Profile) -> list[dg.AssetsDefinition]:
    """Assets downstream of weights."""
    settings = profile.settings
    months = lookback_months(settings.labels.entry_lag, settings.backtest)
    held = read(lookback(months))
    simulating = dict.fromkeys(("weights", "prices", "delistings", "universe"), held)
    simulating["indicators"] = read(lookback(1))
    if settings.backtest.benchmark:
        simulating["benchmark"] = read()
    combined = {
        "portfolio_weights": read(history(months)),
        "prices": read(all_sectors(months), absent="skip"),
        "delistings": read(all_sectors(months), absent="skip"),
        "backtest": read(all_sectors(), absent="skip"),
    }
    quoted = read(lookback(months_covering(quoted_sessions(settings.backtest))))
    # A return is from the session before: one more than the returns that are read.
    sleeves = read(history(months_covering(lookback_sessions(settings.sleeves) + 1)))
    allocating = {
        "portfolio_backtest": sleeves,
        "crypto": sleeves,
        "market_regime": read(),
        "sleeve_allocation": carried(by_sector=False),
    }
    return declared(
        profile,
        "portfolio",
        Asset("benchmark", benchmark),
        Asset(BOOK, book, simulating, together="book"),
        Asset("portfolio_attribution", portfolio_attribution, combined),
        Asset("sleeve_allocation", sleeve_allocation, allocating),
        Asset("orders", orders, {**dict.fromkeys(("weights", "positions", "backtest"), read()), "prices": quoted}),
    )


def benchmark(run: Run, source: Source, ticker: Annotated[str, Setting("backtest.benchmark")]) -> pl.DataFrame:
    """The index or fund that results are compared with."""
    if not ticker:
        return run.dataset("benchmark").empty()
    run.tell_run(said_absent(source, Indices))
    rows = benchmark_rows(source.indices(run.through), ticker, run.sessions())
    run.tell_files(source, "indices")
    return rows


def book(
    run: Run,
    settings: BacktestSettings,
    entry_lag: EntryLag,
    start: Start,
    weights: pl.LazyFrame,
    prices: pl.LazyFrame,
    delistings: pl.LazyFrame,
    universe: pl.LazyFrame,
    indicators: pl.LazyFrame,
    benchmark: pl.DataFrame | None,
) -> dict[str, pl.DataFrame]:
    """Trades, positions and costs of the backtest, and the attribution of its months."""
    days, held = run.sessions("prices"), decisions_held(run, "weights", start)
    parts: dict[str, list[pl.DataFrame]] = {name: [] for name in BOOK}

    def of_sector(
        sector: str,
        weights: pl.DataFrame,
        prices: pl.DataFrame,
        delistings: pl.DataFrame,
        universe: pl.DataFrame,
        indicators: pl.DataFrame,
    ) -> pl.DataFrame:
        found = simulated(
            weights,
            prices,
            days,
            held,
            run.first_day,
            run.last_day,
            entry_lag=entry_lag,
            settings=settings,
            delistings=delistings,
            benchmark_members=universe,
        )
        found = replace(found, frame=with_index(found.frame, benchmark))
        frames = account(found, prices, indicators, run.decisions, run.first_day, settings)
        for name, frame in frames.items():
            parts[name].append(frame.with_columns(sector=pl.lit(sector)))
        return frames["backtest_costs"]

    run.by_sector(
        of_sector,
        weights=weights,
        prices=prices,
        delistings=delistings,
        universe=universe,
        indicators=indicators,
    )
    return {name: pl.concat(frames) for name, frames in parts.items()}


def orders(
    run: Run,
    sector: str,
    settings: OrderSettings,
    costs: BacktestSettings,
    weights: pl.DataFrame,
    positions: pl.DataFrame,
    backtest: pl.DataFrame,
    prices: pl.DataFrame,
) -> pl.DataFrame:
    """Orders from the backtest's holdings to each decision's weights."""
    days, parts = run.sessions("prices"), list[pl.DataFrame]()
    for as_of in run.decisions:
        found = decided_orders(weights, positions, backtest, prices, days, as_of, settings.capital, settings, costs)
        parts.append(found.with_columns(as_of=pl.lit(as_of)))
    rows = pl.concat(parts) if parts else run.dataset("orders").empty().drop("sector")
    run.tell_rows(rows.with_columns(sector=pl.lit(sector)), "as_of", asked)
    run.tell_orders(sector, {f"{sector}/{as_of}": rows.filter(pl.col("as_of") == as_of) for as_of in run.decisions})
    return rows


def asked(rows: pl.DataFrame) -> dict[str, float | str | None]:
    """Figures of orders for the web UI."""
    traded = rows.filter(pl.col("action") != "hold")
    sums = {name: float(traded[name].sum()) for name in ("notional", "estimated_cost")}
    return {"orders": len(traded), **sums}


def portfolio_attribution(
    run: Run,
    settings: BacktestSettings,
    entry_lag: EntryLag,
    start: Start,
    portfolio_weights: pl.DataFrame,
    prices: pl.LazyFrame,
    delistings: pl.LazyFrame,
    backtest: pl.DataFrame,
) -> pl.DataFrame:
    """Attribution of the total portfolio's months, by sector."""
    found = portfolio_simulated(run, settings, entry_lag, start, portfolio_weights, prices, delistings)
    return by_sector(found.outcome.gains, portfolio_weights, backtest, run.decisions)


def sleeve_allocation(
    run: Run,
    settings: SleeveSettings,
    portfolio_backtest: pl.DataFrame,
    crypto: pl.DataFrame,
    market_regime: pl.DataFrame,
    sleeve_allocation: pl.DataFrame,
) -> pl.DataFrame:
    """Shares of the sleeves at each decision."""
    days, decisions = run.sessions("crypto"), {month_of(as_of): as_of for as_of in run.decisions}

    def decided(month: str, before: pl.DataFrame) -> pl.DataFrame:
        if month not in decisions:
            return before.clear()
        return allocated(before, portfolio_backtest, crypto, market_regime, days, decisions[month], settings)

    rows = run.walked(sleeve_allocation.drop("month"), decided)
    run.tell_rows(rows, "as_of", _sleeves)
    run.tell_sleeves(rows)
    return rows


def _sleeves(rows: pl.DataFrame) -> dict[str, float | str | None]:
    row = rows.row(0, named=True)
    return {name: row[name] for name in ("equities", "crypto", "cash", "multiplier", "crypto_risk", "reason")}
