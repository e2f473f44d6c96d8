"""A simulation as rows: its trades, positions and costs, and the attribution of its months."""

from collections.abc import Iterable, Mapping
from datetime import date

import numpy as np
import polars as pl

from quant_assets.backtest.book_kernel import TERMS
from quant_assets.backtest.result import Outcome
from quant_assets.backtest.simulation import Simulated
from quant_assets.market.containment import marks
from quant_assets.market.panel import FloatArray, Panel
from quant_assets.schemas import DATASETS
from quant_assets.settings.trading import BacktestSettings

#: Parts of the cost.
COSTS = TERMS[:-1]

#: Indicators that split a month's selection: values at the decision before the month, standardised over the sector's
#: members.
FACTORS = ("momentum", "ma_slope", "garch_volatility")


def account(
    result: Simulated,
    prices: pl.DataFrame,
    indicators: pl.DataFrame,
    as_ofs: Iterable[date],
    first_day: date,
    settings: BacktestSettings,
) -> dict[str, pl.DataFrame]:
    """Datasets trades, positions, backtest_costs, attribution and turnover of one sector.

    Args:
        result: with `benchmark_return`.
        prices: dataset prices, of the same months as the simulation.
        indicators: dataset indicators; those at the decision before each month are read, if present.
        as_ofs: decision sessions of the months.
        first_day: first calendar day of the rows.
        settings: of the simulation.

    Returns:
        Frames by dataset, without `sector`.

    """
    outcome, rows = result.outcome, pl.col("date") >= first_day
    day_costs = pl.DataFrame({"date": result.sessions, **outcome.terms}).filter(rows)
    frames = {
        "trades": trades(outcome, prices, settings).filter(rows),
        "positions": _positions(outcome).filter(rows),
        "backtest_costs": day_costs.filter(pl.col("date").is_in(result.frame["date"].implode())),
        "attribution": attribution(result, prices, indicators, as_ofs),
        "turnover": turned_over(result, settings).filter(rows),
    }
    return {
        name: frame.select(list(DATASETS[name].schema)).cast(dict(DATASETS[name].schema))  # type: ignore[arg-type]
        for name, frame in frames.items()
    }


def _positions(outcome: Outcome) -> pl.DataFrame:
    """With 0 for names sold completely, so that a session after which nothing is held has rows too."""
    sold = outcome.trades.join(outcome.positions, on=["date", "ticker"], how="anti")
    return pl.concat([outcome.positions, sold.select("date", "ticker", weight=pl.lit(0.0))]).sort("date", "ticker")


def trades(outcome: Outcome, prices: pl.DataFrame, settings: BacktestSettings) -> pl.DataFrame:
    """Trades with the price as traded, by the execution setting, and the number of shares in a book of `capital`.

    Args:
        outcome: of the simulation.
        prices: dataset prices; a missing column counts as unknown.
        settings: execution and capital.

    """
    missing = [name for name in ("open", "high", "low", "close_unadjusted") if name not in prices.columns]
    bars = prices.with_columns(pl.lit(None, pl.Float64).alias(name) for name in missing)
    opened = pl.coalesce("open", "close")
    paid = {
        "close": pl.col("close"),
        "open": opened,
        "mean": (opened + pl.coalesce("high", "close") + pl.coalesce("low", "close") + pl.col("close")) / 4.0,
    }[settings.execution]
    quoted = bars.select("ticker", "date", quote=pl.col("close_unadjusted") * (paid / pl.col("close")))
    joined = outcome.trades.drop("price").join(
        quoted.unique(["ticker", "date"], maintain_order=True), on=["ticker", "date"], how="left"
    )
    return joined.with_columns(
        price="quote",
        quantity=pl.col("traded").abs() * settings.capital / pl.col("quote"),
        action=pl.when(pl.col("traded") > 0.0).then(pl.lit("buy")).otherwise(pl.lit("sell")),
    ).drop("quote")


def turned_over(result: Simulated, settings: BacktestSettings) -> pl.DataFrame:
    """Rows of dataset turnover: traded value by session and cause, and turnover that was cut.

    Args:
        result: the simulation.
        settings: its limits.

    """
    outcome, limits = result.outcome, settings.turnover
    after = pl.col("held") + pl.col("traded")
    larger = after.abs() > pl.col("held").abs()
    done = outcome.trades.with_columns(
        cause=pl.when(pl.col("held") == 0.0)
        .then(pl.lit("entry"))
        .when(after.abs() < 1e-9)
        .then(pl.lit("exit"))
        .when(larger)
        .then(pl.lit("increase"))
        .otherwise(pl.lit("decrease")),
        turnover=pl.col("traded").abs(),
        cost=pl.col("commission") + pl.col("half_spread") + pl.col("impact"),
    )
    done = done.group_by("date", "cause", maintain_order=True).agg(pl.sum("turnover", "cost"))
    parts = [
        done.select(
            "date",
            "cause",
            "turnover",
            traded=pl.lit(True),
            cost_bps=pl.col("cost") / pl.col("turnover") * 1e4,
        )
    ]
    for name, cut in outcome.cut.items():
        untraded = pl.DataFrame({"date": result.sessions, "turnover": cut}).filter(pl.col("turnover") > 0.0)
        parts.append(untraded.with_columns(cause=pl.lit(name), traded=pl.lit(False)))
    rows = pl.concat(parts, how="diagonal").sort("date", "cause")
    spent = pl.DataFrame({"date": result.sessions, "spent": outcome.spent})
    of_year = (pl.lit(limits.annual) - pl.col("spent")).clip(0.0)
    limited = pl.lit(limits.limited)
    return rows.join(spent, on="date", how="left", maintain_order="left").with_columns(
        max_turnover=pl.when(limited).then(pl.lit(limits.max_turnover)),
        annual_left=pl.when(limited).then(of_year),
    )


def attribution(
    result: Simulated, prices: pl.DataFrame, indicators: pl.DataFrame, as_ofs: Iterable[date]
) -> pl.DataFrame:
    r"""Attribution of each month's result, as sums over its sessions.

    With the invested share :math:`x_{t-1}` at the close before, the benchmark :math:`b_t`, the gross return
    :math:`g_t` and the cost :math:`k_t`, a session's net return is

    .. math:: b_t + (x_{t-1} - 1) b_t + (g_t - x_{t-1} b_t) - k_t (1 + g_t):

    market, exposure, selection, cost. Where the benchmark is unknown all of the gross return is selection. Level
    `index` splits the market into the index's return and the sector's excess over it, in months with a known index
    return; sessions without one count as 0 there. Where the benchmark is unknown but the index is known, `sector` is 0
    and the rest is the selection of that level. Selection of level `total` is split by `FACTORS` from the session after
    the month's first trade on: the exposure of the holdings then, times the slope of the session's returns on the
    factors over the members (least squares); the rest is `specific`. There is no split where fewer members than three
    times the factors have all of them.

    Args:
        result: with `benchmark_return` and `index_return`.
        prices: dataset prices.
        indicators: dataset indicators.
        as_ofs: decision sessions, one for each month.

    Returns:
        `as_of, level, name, value`.

    """
    outcome, rows = result.outcome, list[tuple[date, str, str, float]]()
    days = result.sessions
    returns = pl.DataFrame({"date": days}).join(
        result.frame.select("date", "benchmark_return", "index_return"), on="date", how="left", maintain_order="left"
    )
    benchmark = returns["benchmark_return"].fill_nan(None)
    market, known = benchmark.fill_null(0.0).to_numpy(), benchmark.is_not_null().to_numpy()
    index, indexed = returns["index_return"].fill_null(0.0).to_numpy(), returns["index_return"].is_not_null().to_numpy()
    exposure = np.where(market != 0.0, (outcome.invested - 1.0) * market, 0.0)
    selection = outcome.gross - market - exposure
    paid = {name: -outcome.terms[name] * (1.0 + outcome.gross) for name in COSTS}
    for as_of in sorted(set(as_ofs)):
        within = np.flatnonzero((days >= np.datetime64(as_of.replace(day=1))) & (days <= np.datetime64(as_of)))
        parts = {"market": market, "exposure": exposure, "selection": selection, "cost": sum(paid.values())}
        rows += [(as_of, "total", name, float(np.sum(values[within]))) for name, values in parts.items()]
        if indexed[within].any():
            sector, beside = np.where(known, market - index, 0.0), selection - np.where(known, 0.0, index)
            over = {"index": index, "sector": sector, **parts, "selection": beside}
            del over["market"]
            rows += [(as_of, "index", name, float(np.sum(values[within]))) for name, values in over.items()]
        rows += [(as_of, "cost", name, float(np.sum(values[within]))) for name, values in paid.items()]
        split = _by_factor(outcome, prices, indicators, days[within])
        if split:
            rows += [(as_of, "selection", name, value) for name, value in split.items()]
            specific = float(np.sum(selection[within])) - sum(split.values())
            rows.append((as_of, "selection", "specific", specific))
    schema = {"as_of": pl.Date, "level": pl.String, "name": pl.String, "value": pl.Float64}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _by_factor(
    outcome: Outcome,
    prices: pl.DataFrame,
    indicators: pl.DataFrame,
    days: "np.ndarray[tuple[int], np.dtype[np.datetime64]]",
) -> Mapping[str, float]:
    """Each factor's contribution over the sessions of a month after its first trade; empty where it is unknown."""
    if not len(days) or "date" not in indicators.columns:
        return {}
    month = pl.col("date").is_between(days[0].item(), days[-1].item())
    held = outcome.positions.filter(month).join(outcome.trades, on="date", how="semi", maintain_order="left")
    before = indicators.filter(pl.col("date") < days[0].item())
    before = before.filter(pl.col("date") == before["date"].max()) if len(before) else before
    before = before.select("ticker", *FACTORS).drop_nulls().drop_nans().sort("ticker")
    if held.is_empty() or len(before) < 3 * len(FACTORS):
        return {}
    values = before.select(FACTORS).to_numpy()
    spread = values.std(axis=0)
    if not (spread > 0.0).all():
        return {}
    scores = (values - values.mean(axis=0)) / spread
    first = held["date"].min()
    weight = dict(held.filter(pl.col("date") == first).select("ticker", "weight").iter_rows())
    exposed = np.array([weight.get(name, 0.0) for name in before["ticker"]]) @ scores
    members = marks(prices).filter(pl.col("ticker").is_in(before["ticker"].implode()), month)
    members = members.select("ticker", "date", "close", "unexplained").unique(["ticker", "date"], maintain_order=True)
    panel = Panel.from_long(members, days, ["close", "unexplained"])
    order = panel.rows(before.select("ticker", date=pl.lit(days[-1].item())))
    close = np.where((order >= 0)[:, None], panel["close"][order], np.nan)
    marked = np.where((order >= 0)[:, None], panel["unexplained"][order], 0.0)
    gained: FloatArray = np.zeros(len(FACTORS))
    for place in range(1, len(days)):
        if days[place].item() <= first:
            continue
        returns = close[:, place] / close[:, place - 1] - 1.0
        gained = gained + exposed * _slopes(np.where(marked[:, place] == 1.0, np.nan, returns), scores)
    return dict(zip(FACTORS, gained.tolist(), strict=True))


def _slopes(returns: FloatArray, scores: FloatArray) -> FloatArray:
    """Slopes of a cross-section's returns on the factors; zeros where too few names have a return."""
    observed = np.isfinite(returns)
    if observed.sum() < 3 * scores.shape[1]:
        return np.zeros(scores.shape[1])
    design = np.column_stack([np.ones(int(observed.sum())), scores[observed]])
    return np.asarray(np.linalg.lstsq(design, returns[observed], rcond=None)[0][1:], dtype=np.float64)


def by_sector(
    gains: pl.DataFrame, portfolio_weights: pl.DataFrame, backtest: pl.DataFrame, as_ofs: Iterable[date]
) -> pl.DataFrame:
    """The total portfolio's months by sector, of the decision that each month held (Brinson, Hood and Beebower, 1986).

    Gross return that the holdings of the month before still earned, up to the execution, is part of selection.

    Args:
        gains: `Outcome.gains` of the total portfolio.
        portfolio_weights: dataset portfolio_weights, the month before included; for sector and share.
        backtest: dataset backtest of all sectors, with `sector`: `benchmark_return`.
        as_ofs: decision sessions, one for each month.

    Returns:
        Dataset portfolio_attribution.

    """
    schema = DATASETS["portfolio_attribution"].schema
    parts = [pl.DataFrame(schema=schema)]
    for as_of in sorted(set(as_ofs)):
        month = as_of.replace(day=1)
        earlier = portfolio_weights.filter(pl.col("as_of") < month)
        newest = earlier.filter(pl.col("as_of") == earlier["as_of"].max()) if len(earlier) else earlier
        of = earlier.sort("as_of").unique("ticker", keep="last", maintain_order=True).select("ticker", "sector")
        gained = gains.filter(pl.col("month") == month).join(of, on="ticker", how="inner")
        gained = gained.group_by("sector").agg(gain=pl.col("gain").sort_by("ticker").sum())
        shares = newest.group_by("sector").agg(weight=pl.col("weight").sort_by("ticker").sum())
        days = backtest.filter(pl.col("date").is_between(month, as_of)).sort("sector", "date")
        bench = days.group_by("sector", maintain_order=True).agg(
            benchmark_return=pl.col("benchmark_return").fill_null(0.0).sum()
        )
        rows = (
            shares.join(gained, on="sector", how="full", coalesce=True)
            .join(bench, on="sector", how="left")
            .with_columns(pl.col("weight", "gain", "benchmark_return").fill_null(0.0))
            .sort("sector")
        )
        if rows.is_empty():
            continue
        held = pl.col("weight") != 0.0
        equal = held.cast(pl.Float64) / held.sum()
        over = pl.col("benchmark_return") - pl.col("benchmark_return").filter(held).mean()
        rows = rows.with_columns(
            as_of=pl.lit(as_of),
            allocation=pl.when(held.any()).then((pl.col("weight") - equal) * over).otherwise(0.0),
            selection=pl.col("gain") - pl.col("weight") * pl.col("benchmark_return"),
        )
        parts.append(rows.select(list(schema)).cast(dict(schema)))  # type: ignore[arg-type]
    return pl.concat(parts).sort("as_of", "sector")
