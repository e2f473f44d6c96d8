"""The datasets that come from the providers, over the markets of `synthetic_rare`."""

from datetime import date, time, timedelta

import numpy as np
import polars as pl

from quant_assets.backtest.benchmark import benchmark_rows
from quant_assets.features.ohlcv import peaks
from quant_assets.market import fundamentals, macro
from quant_assets.market.absences import absences
from quant_assets.market.adjustment import adjust
from quant_assets.market.bars import company_bars, sector_bars
from quant_assets.market.calendar import sessions
from quant_assets.market.crypto import at_sessions
from quant_assets.market.delistings import with_returns
from quant_assets.market.placement import entries, of_tickers, place
from quant_assets.market.universe import coverage, coverage_sessions, members, panel_tickers
from quant_assets.sentiment.daily import daily
from quant_assets.sentiment.mentions import Names
from quant_assets.settings.domain import BarSettings
from quant_assets.settings.sentiment import SentimentSettings
from quant_assets.sources.base import NEWS
from quant_assets_tests.synthetic_rare import SECTORS, START, Rare
from quant_assets_tests.synthetic_rare_reads import DELISTINGS, STATEMENTS, Months, Stored


def market_datasets(rare: Rare, months: Months) -> Stored:
    """The datasets that come from the providers, as they answered at the end of the months."""
    asked = rare.known(months.through)
    days, decisions = sessions(START, months.through), months.decisions
    found: dict[str, list[pl.DataFrame]] = {}
    for sector in SECTORS:
        tickers = panel_tickers(asked.snapshots, sector, months.through)
        given = of_tickers(asked.bars, tickers)
        gone = asked.delistings.filter(pl.col("ticker").is_in(tickers))
        panel = sector_bars(company_bars(given, gone, days, BarSettings()), asked.snapshots, sector, days)
        heard = place(gone, asked.snapshots, sector, days, "known_at").filter(
            pl.col("panel_from") == pl.col("known_at")
        )
        heard = heard.filter(pl.col("known_at").is_between(months.first_day, months.last_day)).select(gone.columns)
        there = members(asked.membership, asked.snapshots, sector, months.sessions())
        moved_in = entries(asked.snapshots, sector, days)
        statements = asked.statements.filter(pl.col("ticker").is_in(tickers))
        of_sector = {
            **panel._asdict(),
            "universe": there,
            "sentiment": _sentiment(there, days),
            "price_peaks": peaks(adjust(panel.ohlcv), days, decisions),
            "absences": absences(there, panel.ohlcv, given, panel.quarantine, gone, moved_in, decisions),
            "delistings": with_returns(heard, panel.ohlcv, DELISTINGS),
            "prices": adjust(panel.ohlcv),
            "fundamentals": fundamentals.as_known(statements, asked.snapshots, sector, STATEMENTS, days),
        }
        for name, rows in of_sector.items():
            found.setdefault(name, []).append(months.own(name, rows).with_columns(sector=pl.lit(sector)))
    stored = Stored({name: pl.concat(parts) for name, parts in found.items()})
    held = asked.held(coverage_sessions(days, decisions))
    stored["universe_coverage"] = coverage(asked.membership, asked.snapshots, held, SECTORS, days, decisions)
    stored["macro"] = months.own("macro", macro.as_known(asked.macro, days))
    stored["crypto"] = months.own("crypto", at_sessions(_coins(months.through), days).rename({"value": "close"}))
    stored["benchmark"] = months.own("benchmark", benchmark_rows(_index(days), "IDX", days))
    return stored


def _index(days: np.ndarray) -> pl.DataFrame:
    """Closes of an index at sessions, and of a fund that begins late and ends early."""
    rows = pl.DataFrame({"date": days}).with_row_index("n")
    own = rows.select(ticker=pl.lit("IDX"), date="date", close=100.0 + pl.col("n").hash(5) % 20)
    return pl.concat([own, own.slice(30, 20).with_columns(ticker=pl.lit("FUND"))])


def _coins(last: date) -> pl.DataFrame:
    """Closes of a coin that has every day, and of one that begins late and lacks a fortnight."""
    rows = pl.DataFrame({"date": pl.date_range(START, last - timedelta(days=1), "1d", eager=True)}).with_row_index("n")
    close = 100.0 + pl.col("n").hash(3) % 50
    late = rows.filter(pl.col("n") >= 40, ~pl.col("n").is_between(60, 74))
    parts = [(rows, "BTC-USD"), (late, "ETH-USD")]
    return pl.concat([part.select(ticker=pl.lit(name), date="date", close=close) for part, name in parts])


def _sentiment(there: pl.DataFrame, days: np.ndarray) -> pl.DataFrame:
    """Dataset sentiment of a story a session of each member, all of the same score."""
    known = pl.col("date").dt.combine(time(15)).dt.replace_time_zone("UTC")
    name, nothing = pl.concat_str("ticker", pl.col("date").cast(pl.String)), pl.lit(None, pl.String)
    given = {"item": name, "published": known, "known_at": known, "title": name}
    news = there.select("ticker", **given, text=nothing, publisher=nothing, provider=nothing).select(list(NEWS))
    scores = lambda texts: np.tile([0.2, 0.3, 0.5], (len(texts), 1))  # noqa: E731
    rows = daily(news, Names({}), days, days[0].item(), SentimentSettings(), scores, date(1990, 1, 1)).rows
    return rows.with_columns(scorer=pl.lit("made"), trained_through=pl.lit(date(1990, 1, 1)))
