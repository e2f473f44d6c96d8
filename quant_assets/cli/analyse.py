"""Body of `quant analyse`: one stock at a decision, as text and as an HTML page. Computes nothing new."""

from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
from rich.markup import escape
from rich.table import Table

from quant_assets.errors import MissingPartitionError, SettingsError, UsageError, nearest
from quant_assets.partitions import key, month_of, month_range, parse_key, shift_month
from quant_assets.portfolio.scores import FACTORS
from quant_assets.profile import Profile
from quant_assets.reporting.ops_report import number, percent
from quant_assets.reporting.stock_data import FIGURES, Stock, gather
from quant_assets.reporting.stock_page import ml_line, render, score_rows

#: Months of prices to read: the plotted ones and 200 sessions before them.
_PRICE_MONTHS = 30


def parsed(day: str | None) -> date | None:
    """Parse the day of an option.

    Raises:
        SettingsError: the value is not a day.

    """
    try:
        return None if day is None else date.fromisoformat(day)
    except ValueError:
        raise UsageError(f"--as-of {day} is not a day; write it as YYYY-MM-DD, for example 2024-06-28") from None


def analysed(profile: Profile, ticker: str, day: date | None) -> Stock:
    """Data known about a stock at the newest decision at or before a day; None means the newest decision.

    Raises:
        SettingsError: there are no scores at that day, or the ticker was not a member of a sector then; names both.
        MissingPartitionError: no scores are stored.

    """
    ticker, store, dataset = ticker.strip().upper(), profile.store, profile.datasets["scores"]
    if day is not None and day > profile.last_session():
        raise UsageError(
            f"--as-of {day} is later than the last closed session {profile.last_session()}; choose an earlier day"
        )
    stored = sorted(store.existing(dataset), key=lambda partition: parse_key(partition)[1])
    if not stored:
        raise MissingPartitionError(
            f"no month of 'scores' is in {store.url}; run it first: quant run --profile {profile.settings.profile} "
            f"--sector SECTOR --to {profile.last_month()} --select scores"
        )
    keys = [partition for partition in stored if day is None or parse_key(partition)[1] <= month_of(day)]
    at_or_before = pl.lit(True) if day is None else pl.col("as_of") <= day
    rows = (
        store.read(dataset, keys).filter(at_or_before).select("sector", "ticker", "as_of").collect() if keys else None
    )
    if rows is None or rows.is_empty():
        raise SettingsError(
            f"--as-of {day} is before the first decision with scores, in {parse_key(stored[0])[1]}; choose a later day"
        )
    of_ticker = rows.filter(pl.col("ticker") == ticker).sort("as_of")
    if of_ticker.is_empty():
        latest: Any = rows["as_of"].max()
        near = nearest(ticker, rows["ticker"].unique().sort().to_list())
        hint = f"; similar tickers: {', '.join(near)}" if near else ""
        raise SettingsError(f"ticker '{ticker}' is in no sector with scores up to {latest}{hint}")
    sector, _, as_of = of_ticker.row(-1)
    newest: Any = rows.filter(pl.col("sector") == sector)["as_of"].max()
    if as_of != newest:
        raise SettingsError(
            f"ticker '{ticker}' was not a member of {sector} at {newest}; its last scores are of {as_of}, "
            f"show them with --as-of {as_of}"
        )
    month = month_of(as_of)

    def of_months(name: str, first: str) -> pl.DataFrame:
        existing = store.existing(profile.datasets[name])
        keys = [partition for partition in (key(sector, m) for m in month_range(first, month)) if partition in existing]
        if not keys:
            return profile.datasets[name].empty()
        return store.read(profile.datasets[name], keys).drop("month").collect()

    start, lookback = profile.settings.partitions.start, profile.settings.fundamentals.lookback_months
    return gather(
        ticker,
        sector,
        as_of,
        of_months("scores", month),
        of_months("prices", max(shift_month(month, -_PRICE_MONTHS), start)),
        of_months("predictions", month),
        of_months("fundamentals", max(shift_month(month, -lookback), start)),
        profile.settings.scores,
    )


def output(stock: Stock) -> Iterator[str | Table]:
    """What the command prints."""
    score, dcf = stock.score, stock.settings.dcf
    yield f"{stock.ticker}, {stock.sector_name}, as known at the close of {stock.as_of}"
    yield (
        f"composite {number(score['composite'], 1)}: {score['recommendation'] or 'not rated'} (buy from "
        f"{stock.settings.buy_from:g}, sell to {stock.settings.sell_to:g}; {percent(score['known_share'], 0)} of the "
        "weights known)"
    )
    yield _factors(stock)
    yield f"forecasts (ML): {ml_line(stock)}"
    if stock.missing:
        yield f"not known, left out of the means: {', '.join(stock.missing)}"
    if len(stock.forecasts):
        yield _forecasts(stock)
    if score["fair_value"] is None:
        yield f"no fair value: {score['no_fair_value']}"
    else:
        yield (
            f"fair value {number(score['fair_value'])}, upside {percent(score['upside'], 0, sign=True)} on "
            f"{number(score['close_unadjusted'])} USD: {dcf.years} years at {percent(stock.growth, 1, sign=True)}, "
            f"then {percent(dcf.terminal_growth)}, discounted at {percent(stock.wacc)}"
        )
    if stock.values is not None:
        yield _values(stock)
    yield (
        f"Graham's number {number(score['graham_value'])}, P/E {number(score['price_to_earnings'], 1)}, "
        f"P/B {number(score['price_to_book'], 1)}, EV/EBITDA {number(score['ev_to_ebitda'], 1)}"
    )
    if len(stock.statements):
        yield _statements(stock)


def write(stock: Stock, path: Path, market: str | None) -> str:
    """Write the page; returns a line with its path."""
    path.write_bytes(render(stock, market))
    return f"written: {path}"


def _table(*heads: str, left: int = 1) -> Table:
    table = Table()
    for column, name in enumerate(heads):
        table.add_column(name, justify="left" if column < left else "right")
    return table


def _factors(stock: Stock) -> Table:
    table = _table("factor", "input", "value", "median", "score", "weight", left=2)
    rows = score_rows(stock)
    for factor in FACTORS:
        table.add_row(factor, "", "", "", number(stock.score[factor], 1), percent(stock.weights[factor], 0))
        part = "technical" if factor == "momentum" else factor
        for row in rows:
            if row["factor"] == part:
                table.add_row("", row["name"], row["value"], row["median"], number(row["percentile"], 0), "")
        if factor == "momentum":
            settings = stock.settings
            table.add_row(
                "", "technical part", "", "", number(stock.score["technical"], 0), percent(settings.technical_weight, 0)
            )
            signal = number(stock.score["ml_signal"], 4, sign=True)
            table.add_row(
                "", "forecasts (ML)", signal, "", number(stock.score["ml"], 0), percent(settings.ml_weight, 0)
            )
    return table


def _forecasts(stock: Stock) -> Table:
    table = _table("sessions", "model", "forecast", "lower", "upper", "prob up", "confidence", left=2)
    for row in stock.forecasts.iter_rows(named=True):
        table.add_row(
            str(row["horizon"]),
            escape(row["model"]),
            percent(row["prediction"], 2, sign=True),
            percent(row["prediction_lower"], 1, sign=True),
            percent(row["prediction_upper"], 1, sign=True),
            percent(row["prob_up"], 0),
            number(row["confidence"]),
        )
    return table


def _values(stock: Stock) -> Table:
    assert stock.values is not None  # noqa: S101 (the caller has checked)
    table = _table("discount rate", *(f"growth {percent(growth)}" for growth in stock.values.growths))
    for rate, values in zip(stock.values.waccs, stock.values.per_share, strict=True):
        table.add_row(percent(rate), *(number(None if value != value else value) for value in values))
    return table


def _statements(stock: Stock) -> Table:
    names = [name.replace("_", " ") for name in FIGURES]
    covered = stock.statements["frequency"].unique().to_list()
    periods = ["covers"] if len(covered) > 1 else []
    table = _table("period", *periods, "known at", *names, left=2 + len(periods))
    for row in stock.statements.iter_rows(named=True):
        amounts = (number(None if row[name] is None else row[name] / 1e6, 0) for name in FIGURES)
        table.add_row(str(row["period_end"]), *(row["frequency"] for _ in periods), str(row["known_at"]), *amounts)
    table.caption = "USD million" if periods else f"{covered[0]}, USD million"
    return table
