"""Risk of the holdings: value at risk with back-tests, its sources, and losses in past episodes."""

from collections.abc import Iterator
from datetime import date
from typing import Annotated, Any

import dagster as dg
import polars as pl

from quant_assets.asset_functions import Run, Setting, readable
from quant_assets.assets.declare import Asset, declared, read
from quant_assets.market.calendar import decision_sessions
from quant_assets.market.sector_return import equal_weight_returns
from quant_assets.partitions import (
    all_sectors,
    history,
    key,
    lag,
    lookback,
    month_end,
    month_of,
    month_start,
    months_covering,
    shift_month,
)
from quant_assets.profile import Profile
from quant_assets.reporting.risk_page import render
from quant_assets.risk import breakdown, forecasts, stress
from quant_assets.risk.factor_shocks import check
from quant_assets.risk.holdings import held_at
from quant_assets.schemas import DATASETS
from quant_assets.settings.risk import RiskSettings
from quant_assets.settings.sectors import SECTORS

Provider = Annotated[str, Setting("source")]

#: Months back to the oldest episode: more than a profile has.
_EVER = 12 * 100

#: Columns of indicators that describe a name; other characteristics are features.
_CHARACTERISTICS = ("momentum", "ma_slope", "garch_volatility", "dollar_volume")

#: Columns of prices for the returns of holdings.
_BARS = ("ticker", "date", "close", "panel_from", "listed", "unexplained")


def risk_assets(profile: Profile) -> list[dg.AssetsDefinition]:
    """Assets of the risk group."""
    settings = profile.settings.risk
    months = months_covering(forecasts.lookback_sessions(settings) + 1)
    past, episode = read(lookback(months)), read(lookback(settings.episode_months + 1))
    told = read(lookback(settings.history_months - 1), absent="before")
    check(settings.factor_shocks, _CHARACTERISTICS, profile.features.names)
    by_feature = bool(set(settings.factor_shocks) - set(_CHARACTERISTICS))
    described = {"features": read()} if by_feature else {}
    described_all = {"features": read(all_sectors(), absent="skip")} if by_feature else {}
    of_all, before = read(all_sectors(months), absent="skip"), read(all_sectors(months + 1), absent="skip")
    return declared(
        profile,
        "risk",
        Asset("episode_returns", episode_returns, {"prices": episode, "universe": episode}),
        Asset("var_forecasts", var_forecasts, {"weights": read(lag(1)), "prices": read(lookback(months + 1))}),
        Asset(
            "risk_breakdown",
            risk_breakdown,
            {
                "weights": read(),
                "prices": past,
                "universe": past,
                "indicators": read(),
                "episode_returns": read(lookback(_EVER), absent="before"),
                **described,
            },
        ),
        Asset(
            "risk",
            risk,
            {"weights": read(), "prices": past, "var_forecasts": told, "risk_breakdown": read()},
            kinds=["html"],
        ),
        Asset(
            "portfolio_var_forecasts",
            portfolio_var_forecasts,
            {"portfolio_weights": read(history(1, 1)), "prices": before},
        ),
        Asset(
            "portfolio_risk_breakdown",
            portfolio_risk_breakdown,
            {
                "portfolio_weights": read(),
                "prices": of_all,
                "universe": of_all,
                "indicators": read(all_sectors(), absent="skip"),
                "risk_breakdown": read(all_sectors(), absent="skip"),
                **described_all,
            },
        ),
        Asset(
            "portfolio_risk",
            portfolio_risk,
            {
                "portfolio_weights": read(),
                "prices": of_all,
                "portfolio_var_forecasts": read(history(settings.history_months - 1), absent="before"),
                "portfolio_risk_breakdown": read(),
            },
            kinds=["html"],
        ),
    )


def episode_returns(
    run: Run, sector: str, settings: RiskSettings, prices: pl.DataFrame, universe: pl.DataFrame
) -> pl.DataFrame:
    """Returns of the sector's names in the episodes that ended in each month."""
    return stress.episode_returns(
        prices, universe, run.sessions("prices"), settings.episodes, run.first_day, run.last_day
    )


def var_forecasts(
    run: Run, sector: str, settings: RiskSettings, weights: pl.DataFrame, prices: pl.DataFrame
) -> pl.DataFrame:
    """Value at risk at each session of the previous month's weights, and the realised return."""
    result = forecasts.var_forecasts(weights, prices, run.sessions("prices"), _held_in(run), settings)
    run.tell_rows(result.with_columns(sector=pl.lit(sector)), "date", _exceptions)
    return result


def risk_breakdown(
    run: Run,
    sector: str,
    settings: RiskSettings,
    weights: pl.DataFrame,
    prices: pl.DataFrame,
    universe: pl.DataFrame,
    indicators: pl.DataFrame,
    episode_returns: pl.DataFrame,
    features: pl.DataFrame | None,
) -> pl.DataFrame:
    """Sources of the risk of each decision, and losses in scenarios."""
    market = equal_weight_returns(prices, universe, run.sessions("prices"))
    result = breakdown.risk_breakdown(
        weights, prices, market, indicators, episode_returns, run.sessions("prices"), run.decisions, settings, features
    )
    run.tell_rows(result.with_columns(sector=pl.lit(sector)), "as_of", _whole)
    return result


def risk(
    run: Run,
    sector: str,
    settings: RiskSettings,
    source: Provider,
    weights: pl.DataFrame,
    prices: pl.DataFrame,
    var_forecasts: pl.DataFrame,
    risk_breakdown: pl.DataFrame,
) -> pl.DataFrame:
    """Value at risk of each decision, with back-tests of the forecasts so far and a page."""
    result = _at_decisions(
        run, settings, source, sector, SECTORS[sector].name, weights, prices, var_forecasts, risk_breakdown
    )
    run.tell_rows(result.with_columns(sector=pl.lit(sector)), "as_of", _figures)
    return result


def portfolio_var_forecasts(
    run: Run, settings: RiskSettings, portfolio_weights: pl.DataFrame, prices: pl.LazyFrame
) -> pl.DataFrame:
    """Value at risk of the total portfolio at each session, and the realised return."""
    bars = prices.select("sector", *_BARS).collect()
    result = forecasts.var_forecasts(portfolio_weights, bars, run.sessions("prices"), _held_in(run), settings)
    run.tell_rows(result, "date", _exceptions)
    return result


def portfolio_risk_breakdown(
    run: Run,
    settings: RiskSettings,
    portfolio_weights: pl.DataFrame,
    prices: pl.LazyFrame,
    universe: pl.LazyFrame,
    indicators: pl.LazyFrame,
    risk_breakdown: pl.DataFrame,
    features: pl.LazyFrame | None,
) -> pl.DataFrame:
    """Sources of the risk of the total portfolio, and losses in scenarios."""
    bars = prices.select("sector", "in_sector", *_BARS).collect()
    members = universe.select("ticker", "date").collect()
    market = equal_weight_returns(bars.filter("in_sector"), members, run.sessions("prices"))
    described = indicators.select("ticker", "date", *_CHARACTERISTICS, "sector").collect()
    wanted = sorted(set(settings.factor_shocks) - set(_CHARACTERISTICS))
    more = None if features is None else features.select("ticker", "date", *wanted).collect()
    days = run.sessions("prices")
    result = breakdown.risk_breakdown(
        portfolio_weights, bars, market, described, risk_breakdown, days, run.decisions, settings, more
    )
    run.tell_rows(result, "as_of", _whole)
    return result


def portfolio_risk(
    run: Run,
    settings: RiskSettings,
    source: Provider,
    portfolio_weights: pl.DataFrame,
    prices: pl.LazyFrame,
    portfolio_var_forecasts: pl.DataFrame,
    portfolio_risk_breakdown: pl.DataFrame,
) -> pl.DataFrame:
    """Value at risk of the total portfolio, with back-tests of the forecasts so far and a page."""
    bars = prices.select("sector", *_BARS).collect()
    result = _at_decisions(
        run,
        settings,
        source,
        None,
        "Total portfolio",
        portfolio_weights,
        bars,
        portfolio_var_forecasts,
        portfolio_risk_breakdown,
    )
    run.tell_rows(result, "as_of", _figures)
    return result


def _held_in(run: Run) -> Iterator[tuple[date, date, date]]:
    """Decision session, first and last session of each month of the run that has sessions."""
    own = run.sessions().tolist()
    for month in run.months:
        before = shift_month(month, -1)
        decided, inside = (
            decision_sessions(month_start(before), month_end(before)),
            [d for d in own if month_of(d) == month],
        )
        if decided and inside:
            yield decided[-1], inside[0], inside[-1]


def _at_decisions(
    run: Run,
    settings: RiskSettings,
    source: str,
    sector: str | None,
    title: str,
    weights: pl.DataFrame,
    prices: pl.DataFrame,
    past: pl.DataFrame,
    parts: pl.DataFrame,
) -> pl.DataFrame:
    rows: list[dict[str, Any]] = []
    for as_of, held in held_at(weights, prices, run.sessions("prices"), run.decisions, settings):
        month = month_of(as_of)
        first = month_start(shift_month(month, 1 - settings.history_months))
        so_far = past.filter(pl.col("date").is_between(first, as_of))
        found = forecasts.at_decision(held, settings, key(sector, month))
        found = forecasts.with_backtests(found, so_far)
        dataset = "portfolio_risk" if sector is None else f"risk/{sector}"
        name = f"{dataset}/{month}/risk.html"
        market = "Simulated market" if source == "demo" else None
        page = render(title, as_of, found, so_far, parts.filter(pl.col("as_of") == as_of), market)
        run.store.write_artifact(name, page)
        run.tell_page(sector, month, name)
        rows += [{"as_of": as_of, **row, "page_file": name} for row in found]
    return pl.DataFrame(rows, schema=DATASETS["risk"].schema)


def _exceptions(rows: pl.DataFrame) -> dict[str, float | str | None]:
    """Exceptions of the month at the highest level."""
    counted = rows.filter(pl.col("level") == rows["level"].max())
    return {
        f"month_exceptions_{method}": int(part["exception"].sum())
        for (method,), part in counted.sort("method").partition_by("method", as_dict=True).items()
    }


def _figures(rows: pl.DataFrame) -> dict[str, float | str | None]:
    """Figures at the highest level and shortest horizon."""
    shown = rows.filter((pl.col("level") == rows["level"].max()) & (pl.col("horizon") == rows["horizon"].min()))
    figures: dict[str, float | str | None] = {}
    for row in shown.sort("method").iter_rows(named=True):
        figures |= {f"{name}_{row['method']}": row[name] for name in ("value_at_risk", "traffic_light")}
    return dict(readable(figures))


def _whole(rows: pl.DataFrame) -> dict[str, float | str | None]:
    whole = rows.filter(pl.col("part").is_in(["portfolio", "episode"]) & (pl.col("figure") != "coverage"))
    return {
        (figure if part == "portfolio" else f"loss_{item}"): value
        for part, item, figure, value in whole.select("part", "item", "figure", "value").iter_rows()
    }
