"""Decisions and their results: regime, sector weights and backtest, and the total portfolio by month."""

from datetime import date
from typing import Annotated

import dagster as dg
import polars as pl

from quant_assets.asset_functions import Run, Setting
from quant_assets.assets.declare import Asset, carried, declared, read
from quant_assets.assets.unexplained import tell_marked
from quant_assets.backtest.benchmark import with_index
from quant_assets.backtest.metrics import performance
from quant_assets.backtest.simulation import Simulated, lookback_months, names_of, simulate, simulated
from quant_assets.backtest.track_record import continued
from quant_assets.market.calendar import decision_sessions
from quant_assets.partitions import (
    all_sectors,
    history,
    key,
    lookback,
    month_of,
    month_range,
    month_start,
    months_covering,
    shift_month,
)
from quant_assets.portfolio.allocation import total_portfolio
from quant_assets.portfolio.history import History, needs_previous
from quant_assets.portfolio.history import lookback_sessions as lookback_of_weights
from quant_assets.portfolio.optimisers import optimiser
from quant_assets.portfolio.weights import sector_weights
from quant_assets.profile import Profile
from quant_assets.risk.regimes import fit_sessions, lookback_sessions
from quant_assets.risk.regimes import market_regime as judge_market
from quant_assets.risk.regimes import regime_state as judge_regime
from quant_assets.settings.results import PortfolioSettings
from quant_assets.settings.risk import RegimeSettings
from quant_assets.settings.trading import BacktestSettings
from quant_assets.settings.weights import WeightSettings
from quant_assets.trial_log import PORTFOLIO, TrialLog

Start = Annotated[str, Setting("partitions.start")]
EntryLag = Annotated[int, Setting("labels.entry_lag")]


def portfolio_assets(profile: Profile) -> list[dg.AssetsDefinition]:
    """Assets of the portfolio group."""
    settings = profile.settings
    optimiser(settings.weights)  # refuses an unknown one before anything runs
    regime_months = _regime_months(settings.regime)
    holding_months = lookback_months(settings.labels.entry_lag, settings.backtest)
    judged, held = read(lookback(regime_months)), read(lookback(holding_months))
    there, traded = read(all_sectors(), absent="skip"), read(all_sectors(holding_months), absent="skip")
    of_all = read(all_sectors(regime_months), absent="skip")
    beside = {"benchmark": read()} if settings.backtest.benchmark else {}
    simulated = dict.fromkeys(("weights", "prices", "delistings", "universe"), held) | beside
    combined = {"portfolio_weights": read(history(holding_months)), "prices": traded, "delistings": traded} | beside
    continuing = {"portfolio_backtest": read(), "portfolio_track_record": carried(by_sector=False)}
    return declared(
        profile,
        "portfolio",
        Asset("regime_state", regime_state, {"prices": judged, "universe": judged}, sized_by="prices"),
        _weights_asset(settings.weights),
        Asset("backtest", backtest, simulated),
        Asset("track_record", track_record, {"backtest": read(), "track_record": carried()}),
        Asset("market_regime", market_regime, dict.fromkeys(("prices", "universe"), of_all)),
        _total(settings.portfolio, {"weights": there, "regime_state": there}),
        Asset("portfolio_backtest", portfolio_backtest, combined),
        Asset("portfolio_track_record", portfolio_track_record, continuing),
    )


def _total(settings: PortfolioSettings, reads: dict[str, dg.AssetIn]) -> Asset:
    """Asset `portfolio_weights`; reads the market's regime (years of all prices) only if needed."""
    if settings.exposure.regime == "market":
        return Asset("portfolio_weights", portfolio_weights_by_market, {**reads, "market_regime": read()})
    return Asset("portfolio_weights", portfolio_weights, reads)


def _weights_asset(settings: WeightSettings) -> Asset:
    """Asset `weights`, which reads earlier sessions and its own previous month if the settings need them."""
    own = dict.fromkeys(("candidates", "predictions", "indicators"), read())
    before = lookback_of_weights(settings)
    if not before:
        return Asset("weights", weights, own)
    window = read(lookback(months_covering(before)))
    reads = {**own, "prices": window, "universe": window}
    if settings.covariance.of_garch:
        reads["indicators"] = window
    if not needs_previous(settings):
        return Asset("weights", weights_of_history, reads, sized_by="prices")
    return Asset("weights", weights_from_holdings, {**reads, "weights": carried()})


def _regime_months(settings: RegimeSettings) -> int:
    """Months of history that a regime reads: for the rules, or for the fit in use, made months before."""
    of_rules, of_fit = months_covering(lookback_sessions(settings) + 1), fit_sessions(settings)
    return max(of_rules, settings.markov.cadence_months - 1 + months_covering(of_fit) if of_fit else 0)


def regime_state(
    run: Run, sector: str, settings: RegimeSettings, prices: pl.DataFrame, universe: pl.DataFrame
) -> pl.DataFrame:
    """The sector's regime at each decision: by thresholds, by rules and by the model."""
    result = judge_regime(prices, universe, run.sessions("prices"), run.decisions, settings)
    tell_marked(run, sector, prices, universe)
    run.tell_rows(result.with_columns(sector=pl.lit(sector)), "as_of", _regime)
    return result


def weights(
    run: Run,
    sector: str,
    settings: WeightSettings,
    candidates: pl.DataFrame,
    predictions: pl.DataFrame,
    indicators: pl.DataFrame,
) -> pl.DataFrame:
    """Weights of each decision, from its own session only."""
    return _told(run, sector, sector_weights(candidates, predictions, indicators, run.decisions, settings))


def weights_of_history(
    run: Run,
    sector: str,
    settings: WeightSettings,
    candidates: pl.DataFrame,
    predictions: pl.DataFrame,
    indicators: pl.DataFrame,
    prices: pl.DataFrame,
    universe: pl.DataFrame,
) -> pl.DataFrame:
    """Weights of each decision, also from earlier sessions."""
    before = History(prices, universe, indicators, run.sessions("prices"))
    tell_marked(run, sector, prices, universe)
    return _told(run, sector, sector_weights(candidates, predictions, indicators, run.decisions, settings, before))


def weights_from_holdings(
    run: Run,
    sector: str,
    settings: WeightSettings,
    entry_lag: EntryLag,
    candidates: pl.DataFrame,
    predictions: pl.DataFrame,
    indicators: pl.DataFrame,
    prices: pl.DataFrame,
    universe: pl.DataFrame,
    weights: pl.DataFrame,
) -> pl.DataFrame:
    """Weights of each decision, from earlier sessions and the previous holdings."""
    before = History(prices, universe, indicators, run.sessions("prices"))
    tell_marked(run, sector, prices, universe)
    decisions = {month_of(as_of): as_of for as_of in run.decisions}

    def decided(month: str, held: pl.DataFrame) -> pl.DataFrame:
        as_ofs = [decisions[month]] if month in decisions else []
        return sector_weights(candidates, predictions, indicators, as_ofs, settings, before, held, entry_lag)

    return _told(run, sector, run.walked(weights, decided))


def _told(run: Run, sector: str, rows: pl.DataFrame) -> pl.DataFrame:
    run.tell_rows(rows.with_columns(sector=pl.lit(sector)), "as_of", _held)
    return rows


def backtest(
    run: Run,
    settings: BacktestSettings,
    entry_lag: EntryLag,
    start: Start,
    trials: TrialLog,
    weights: pl.LazyFrame,
    prices: pl.LazyFrame,
    delistings: pl.LazyFrame,
    universe: pl.LazyFrame,
    benchmark: pl.DataFrame | None,
) -> pl.DataFrame:
    """Returns of the weights, session by session."""
    days, held = run.sessions("prices"), decisions_held(run, "weights", start)

    def of_sector(
        sector: str, weights: pl.DataFrame, prices: pl.DataFrame, delistings: pl.DataFrame, universe: pl.DataFrame
    ) -> pl.DataFrame:
        tell_marked(run, sector, prices, universe)
        return simulate(
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

    result = run.by_sector(of_sector, weights=weights, prices=prices, delistings=delistings, universe=universe)
    result = with_index(result, benchmark)
    for sector in run.sectors:
        trials.note_backtest(sector, result.filter(pl.col("sector") == sector), run.decisions)
    run.tell_rows(result, "date", _month)
    return result


def track_record(run: Run, sector: str, backtest: pl.DataFrame, track_record: pl.DataFrame) -> pl.DataFrame:
    """Where the sector's track record stands after each month."""
    result = _continued(run, backtest, track_record)
    run.tell_rows(result.with_columns(sector=pl.lit(sector)), "as_of", _to_date)
    return result


def _continued(run: Run, backtest: pl.DataFrame, track_record: pl.DataFrame) -> pl.DataFrame:
    decisions = {month_of(as_of): as_of for as_of in run.decisions}
    return run.walked(track_record, lambda month, before: continued(before, backtest, decisions.get(month)))


def market_regime(run: Run, settings: RegimeSettings, prices: pl.LazyFrame, universe: pl.LazyFrame) -> pl.DataFrame:
    """The regime of all stored sectors together."""
    bars = prices.select("ticker", "date", "close", "in_sector", "panel_from", "unexplained").collect()
    members = universe.select("sector", "ticker", "date").collect()
    result = judge_market(bars, members, run.sessions("prices"), run.decisions, settings)
    run.tell_rows(result, "as_of", _regime)
    return result


def portfolio_weights(
    run: Run, settings: PortfolioSettings, weights: pl.DataFrame, regime_state: pl.DataFrame
) -> pl.DataFrame:
    """The total portfolio of the sectors with stored weights."""
    result = total_portfolio(weights, regime_state, run.decisions, settings)
    run.tell_rows(result, "as_of", _held_in_sectors)
    return result


def portfolio_weights_by_market(
    run: Run,
    settings: PortfolioSettings,
    weights: pl.DataFrame,
    regime_state: pl.DataFrame,
    market_regime: pl.DataFrame,
) -> pl.DataFrame:
    """As `portfolio_weights`, if the market's regime sets the exposure."""
    result = total_portfolio(weights, regime_state, run.decisions, settings, market_regime)
    run.tell_rows(result, "as_of", _held_in_sectors)
    return result


def portfolio_backtest(
    run: Run,
    settings: BacktestSettings,
    entry_lag: EntryLag,
    start: Start,
    trials: TrialLog,
    portfolio_weights: pl.DataFrame,
    prices: pl.LazyFrame,
    delistings: pl.LazyFrame,
    benchmark: pl.DataFrame | None,
) -> pl.DataFrame:
    """Returns of the total portfolio, session by session."""
    found = portfolio_simulated(run, settings, entry_lag, start, portfolio_weights, prices, delistings)
    result = with_index(found.frame, benchmark)
    trials.note_backtest(PORTFOLIO, result, run.decisions)
    run.tell_rows(result, "date", _month)
    return result


def portfolio_simulated(
    run: Run,
    settings: BacktestSettings,
    entry_lag: int,
    start: str,
    portfolio_weights: pl.DataFrame,
    prices: pl.LazyFrame,
    delistings: pl.LazyFrame,
) -> Simulated:
    """The simulation of the total portfolio; errors as of `portfolio_bars`."""
    bars, ended = portfolio_bars(run, settings, entry_lag, portfolio_weights, prices, delistings)
    return simulated(
        portfolio_weights,
        bars,
        run.sessions("prices"),
        decisions_held(run, "portfolio_weights", start),
        run.first_day,
        run.last_day,
        entry_lag=entry_lag,
        settings=settings,
        delistings=ended,
    )


def portfolio_bars(
    run: Run,
    settings: BacktestSettings,
    entry_lag: int,
    portfolio_weights: pl.DataFrame,
    prices: pl.LazyFrame,
    delistings: pl.LazyFrame,
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Prices and delistings of the names that the total portfolio holds, or may still hold from earlier decisions.

    They cover all sectors and months that are read: estimates reach back before a sector's first decision, unsold
    names are held after its last one, and a range must not use more bars of a month than the month alone.

    Raises:
        MissingPartitionError: a sector has no prices in a month in which it may be held.

    """
    keys: set[str] = set()
    for sector, decided in portfolio_weights.select("sector", "month").unique().iter_rows():
        last = min(shift_month(decided, lookback_months(entry_lag, settings)), run.months[-1])
        keys.update(key(sector, month) for month in month_range(decided, last))
    for name in ("prices", "delistings"):
        run.store.present(run.dataset(name), keys)
    ended = delistings.collect()
    return prices.filter(pl.col("ticker").is_in(sorted(names_of(portfolio_weights, ended)))).collect(), ended


def portfolio_track_record(
    run: Run, portfolio_backtest: pl.DataFrame, portfolio_track_record: pl.DataFrame
) -> pl.DataFrame:
    """Where the track record of the total portfolio stands after each month."""
    result = _continued(run, portfolio_backtest.drop("month"), portfolio_track_record.drop("month"))
    run.tell_rows(result, "as_of", _to_date)
    return result


def decisions_held(run: Run, reading: str, start: str) -> list[date]:
    """Decision sessions of the run's months and of those whose decisions are still held in them."""
    first = max(shift_month(run.months[0], run.window(reading)[0]), start)
    return decision_sessions(month_start(first), run.through)


def _regime(rows: pl.DataFrame) -> dict[str, float | str | None]:
    row = rows.row(0, named=True)
    shown = ("volatility", "drawdown", "state", "rule_state", "markov_state", "markov_risk_off", "risk_multiplier")
    return {"risk_off": int(row["regime"] == "risk_off"), **{name: row[name] for name in shown}}


def _held(rows: pl.DataFrame) -> dict[str, float | str | None]:
    weight = rows["weight"]
    sold = {"short": -weight.filter(weight < 0.0).sum()} if (weight < 0.0).any() else {}
    return {"names": len(rows), "invested": weight.sum(), "largest_weight": weight.abs().max(), **sold}  # type: ignore[dict-item]


def _held_in_sectors(rows: pl.DataFrame) -> dict[str, float | str | None]:
    sectors = rows["sector"].unique().sort()
    return {"sectors_with_weights": ", ".join(sectors), "sectors": len(sectors), **_held(rows)}


def _month(rows: pl.DataFrame) -> dict[str, float | str | None]:
    found = performance(rows)
    names = ("sessions", "total_return", "benchmark_return", "max_drawdown", "turnover", "cost")
    return {
        **{f"month_{name.removeprefix('total_')}": found[name] for name in names},
        "month_unexplained_steps": int(rows["unexplained"].sum()),
    }


def _to_date(rows: pl.DataFrame) -> dict[str, float | str | None]:
    """With the day from which on they are counted."""
    row = rows.row(0, named=True)
    if row["since"] is None:
        return {}
    names = ("sessions", "total_return", "annualised_volatility", "sharpe", "drawdown", "max_drawdown")
    return {"since": str(row["since"])} | {f"{name.removeprefix('total_')}_to_date": row[name] for name in names}
