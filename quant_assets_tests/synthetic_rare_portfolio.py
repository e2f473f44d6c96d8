"""Weights, backtests, orders, regimes and risk over the markets of `synthetic_rare`, wired as the assets wire them."""

from collections.abc import Callable
from dataclasses import replace
from datetime import date

import polars as pl

from quant_assets.backtest.account import account, by_sector
from quant_assets.backtest.benchmark import with_index
from quant_assets.backtest.simulation import Simulated, lookback_months, simulate, simulated
from quant_assets.backtest.track_record import continued
from quant_assets.market.calendar import decision_sessions
from quant_assets.market.sector_return import equal_weight_returns
from quant_assets.partitions import month_end, month_of, month_range, month_start, months_covering, shift_month
from quant_assets.portfolio import sleeves
from quant_assets.portfolio.allocation import total_portfolio
from quant_assets.portfolio.orders import decided_orders, quoted_sessions
from quant_assets.portfolio.weights import sector_weights
from quant_assets.risk.breakdown import risk_breakdown
from quant_assets.risk.forecasts import at_decision, var_forecasts, with_backtests
from quant_assets.risk.forecasts import lookback_sessions as risk_sessions
from quant_assets.risk.holdings import held_at
from quant_assets.risk.regimes import fit_sessions, market_regime, regime_state
from quant_assets.risk.regimes import lookback_sessions as regime_sessions
from quant_assets.risk.stress import episode_returns
from quant_assets.schemas import DATASETS
from quant_assets.settings.trading import BacktestSettings, OrderSettings
from quant_assets_tests.synthetic_rare_reads import (
    CARRIED,
    COST_BPS,
    LABELS,
    PORTFOLIO,
    REGIMES,
    RISK,
    SLEEVES,
    WEIGHTS,
    Compute,
    Months,
    Reads,
)


def _regime_months() -> int:
    fitted = REGIMES.markov.cadence_months - 1 + months_covering(fit_sessions(REGIMES))
    return max(months_covering(regime_sessions(REGIMES) + 1), fitted)


def _regime_state(read: Reads, months: Months, sector: str) -> pl.DataFrame:
    before = _regime_months()
    days = months.sessions(before)
    return regime_state(read("prices", before), read("universe", before), days, months.decisions, REGIMES)


#: Months before a decision that its risk reads, and an episode.
RISK_MONTHS, EPISODE_MONTHS = months_covering(risk_sessions(RISK) + 1), RISK.episode_months + 1


def _episode_returns(read: Reads, months: Months, sector: str) -> pl.DataFrame:
    prices, universe = (read(name, EPISODE_MONTHS) for name in ("prices", "universe"))
    days = months.sessions(EPISODE_MONTHS)
    return episode_returns(prices, universe, days, RISK.episodes, months.first_day, months.last_day)


def _held_in(months: Months) -> list[tuple[date, date, date]]:
    found = []
    for month in month_range(months.first, months.last):
        before, own = shift_month(month, -1), [day for day in months.sessions().tolist() if month_of(day) == month]
        decided = decision_sessions(month_start(before), month_end(before))
        found += [(decided[-1], own[0], own[-1])] if own else []
    return found


def _forecasts(read: Reads, months: Months, name: str) -> pl.DataFrame:
    before, days = RISK_MONTHS + 1, months.sessions(RISK_MONTHS + 1)
    return var_forecasts(read(name, 1), read("prices", before), days, _held_in(months), RISK)


def _breakdown(read: Reads, months: Months, name: str) -> pl.DataFrame:
    prices, universe, days = read("prices", RISK_MONTHS), read("universe", RISK_MONTHS), months.sessions(RISK_MONTHS)
    own = prices.filter("in_sector") if "sector" in prices.columns else prices
    market = equal_weight_returns(own, universe, days)
    episodes = read("episode_returns", 12) if read.sector else read("risk_breakdown")
    return risk_breakdown(read(name), prices, market, read("indicators"), episodes, days, months.decisions, RISK)


def _risk(read: Reads, months: Months, name: str, told: str) -> pl.DataFrame:
    rows, days = [], months.sessions(RISK_MONTHS)
    forecasts = read(told, RISK.history_months - 1)
    for as_of, held in held_at(read(name), read("prices", RISK_MONTHS), days, months.decisions, RISK):
        first = month_start(shift_month(month_of(as_of), 1 - RISK.history_months))
        so_far = forecasts.filter(pl.col("date").is_between(first, as_of))
        found = with_backtests(at_decision(held, RISK, month_of(as_of)), so_far)
        rows += [{"as_of": as_of, **row, "page_file": "page"} for row in found]
    return pl.DataFrame(rows, schema=DATASETS["risk"].schema)


def _weights(read: Reads, months: Months, sector: str) -> pl.DataFrame:
    return sector_weights(read("candidates"), read("predictions"), read("indicators"), months.decisions, WEIGHTS)


def _with_index(rows: pl.DataFrame, read: Reads, months: Months) -> pl.DataFrame:
    return with_index(rows, Reads(read.stored, months, None)("benchmark"))


def _backtest(read: Reads, months: Months, sector: str) -> pl.DataFrame:
    before = lookback_months(LABELS.entry_lag)
    found = simulate(
        read("weights", before),
        read("prices", before),
        months.sessions(before),
        months.held(before),
        months.first_day,
        months.last_day,
        entry_lag=LABELS.entry_lag,
        settings=BacktestSettings(cost_bps=COST_BPS),
        delistings=read("delistings", before),
        benchmark_members=read("universe", before),
    )
    return _with_index(found, read, months)


def _carried(read: Reads, months: Months) -> Simulated:
    """The book that is carried, of which trades, positions and orders are."""
    before = lookback_months(LABELS.entry_lag, CARRIED)
    found = simulated(
        read("weights", before),
        read("prices", before),
        months.sessions(before),
        months.held(before),
        months.first_day,
        months.last_day,
        entry_lag=LABELS.entry_lag,
        settings=CARRIED,
        delistings=read("delistings", before),
        benchmark_members=read("universe", before),
    )
    return replace(found, frame=_with_index(found.frame, read, months))


def _account(name: str) -> "Compute":
    def rows(read: Reads, months: Months, sector: str) -> pl.DataFrame:
        before = lookback_months(LABELS.entry_lag, CARRIED)
        found = _carried(read, months)
        prices, indicators = read("prices", before), read("indicators", 1)
        return account(found, prices, indicators, months.decisions, months.first_day, CARRIED)[name]

    return rows


def _orders(read: Reads, months: Months, sector: str) -> pl.DataFrame:
    before, settings = months_covering(quoted_sessions(CARRIED)), OrderSettings(lot_size=10)
    parts, backtest = [DATASETS["orders"].empty().drop("sector")], _carried(read, months).frame
    for as_of in months.decisions:
        rows = decided_orders(
            read("weights"),
            read("positions"),
            backtest,
            read("prices", before),
            months.sessions(before),
            as_of,
            settings.capital,
            settings,
            CARRIED,
        )
        parts.append(rows.with_columns(as_of=pl.lit(as_of)).select(parts[0].columns))
    return pl.concat(parts)


def _portfolio_simulated(read: Reads, months: Months) -> Simulated:
    before = lookback_months(LABELS.entry_lag)
    return simulated(
        read("portfolio_weights", before),
        read("prices", before),
        months.sessions(before),
        months.held(before),
        months.first_day,
        months.last_day,
        entry_lag=LABELS.entry_lag,
        settings=BacktestSettings(cost_bps=COST_BPS),
        delistings=read("delistings", before),
    )


def _portfolio_attribution(read: Reads, months: Months) -> pl.DataFrame:
    gains = _portfolio_simulated(read, months).outcome.gains
    held = read("portfolio_weights", lookback_months(LABELS.entry_lag))
    return by_sector(gains, held, read("backtest"), months.decisions)


def _sleeves(read: Reads, months: Months) -> pl.DataFrame:
    """Shares of the sleeves, carried from the month before, which is stored."""
    before, name = months_covering(sleeves.lookback_sessions(SLEEVES) + 1), "sleeve_allocation"
    stored = read(name, 1) if name in read.stored else DATASETS[name].empty()
    parts = [stored.filter(pl.col("as_of") < months.first_day)]
    inputs = read("portfolio_backtest", before), read("crypto", before), read("market_regime")
    for as_of in months.decisions:
        days = months.sessions(before)
        parts.append(sleeves.sleeve_allocation(parts[-1], *inputs, days, as_of, SLEEVES))
    return pl.concat(parts[1:])


def _walked(name: str, backtest: pl.DataFrame, read: Reads, months: Months) -> pl.DataFrame:
    """A track record, carried from the month before, which is stored."""
    columns = list(DATASETS[name].schema)
    before = read(name, 1).filter(pl.col("as_of") < months.first_day) if name in read.stored else None
    parts = [DATASETS[name].empty().select(columns) if before is None else before.select(columns)]
    decisions = {month_of(as_of): as_of for as_of in months.decisions}
    for month in month_range(months.first, months.last):
        parts.append(continued(parts[-1], backtest, decisions.get(month)))
    return pl.concat(parts[1:])


def _track_record(read: Reads, months: Months, sector: str) -> pl.DataFrame:
    return _walked("track_record", read("backtest"), read, months)


#: By sector, in the order in which they read each other.
OF_WEIGHTS: dict[str, Compute] = {
    "regime_state": _regime_state,
    "weights": _weights,
    "backtest": _backtest,
    "track_record": _track_record,
    "episode_returns": _episode_returns,
    "var_forecasts": lambda read, months, sector: _forecasts(read, months, "weights"),
    "risk_breakdown": lambda read, months, sector: _breakdown(read, months, "weights"),
    "risk": lambda read, months, sector: _risk(read, months, "weights", "var_forecasts"),
    **{name: _account(name) for name in ("trades", "positions", "backtest_costs", "attribution", "turnover")},
    "orders": _orders,
}

#: Over all sectors.
OF_ALL_WEIGHTS: dict[str, Callable[[Reads, Months], pl.DataFrame]] = {
    "market_regime": lambda read, months: market_regime(
        read("prices", _regime_months()),
        read("universe", _regime_months()),
        months.sessions(_regime_months()),
        months.decisions,
        REGIMES,
    ),
    "portfolio_weights": lambda read, months: total_portfolio(
        read("weights"), read("regime_state"), months.decisions, PORTFOLIO
    ),
    "portfolio_backtest": lambda read, months: _with_index(_portfolio_simulated(read, months).frame, read, months),
    "portfolio_attribution": _portfolio_attribution,
    "sleeve_allocation": _sleeves,
    "portfolio_track_record": lambda read, months: _walked(
        "portfolio_track_record", read("portfolio_backtest"), read, months
    ),
    "portfolio_var_forecasts": lambda read, months: _forecasts(read, months, "portfolio_weights"),
    "portfolio_risk_breakdown": lambda read, months: _breakdown(read, months, "portfolio_weights"),
    "portfolio_risk": lambda read, months: _risk(read, months, "portfolio_weights", "portfolio_var_forecasts"),
}
