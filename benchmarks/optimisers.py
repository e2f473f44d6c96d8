"""`python -m benchmarks.optimisers FOLDER`: every optimiser on real prices, long-only and dollar-neutral, as a table.

FOLDER holds `prices_sp500_adjusted.parquet` (ticker, date, high, low, close, volume) and `securities.parquet` (ticker,
sector, as_of). Nothing is stored and nothing of the graph runs: candidates are the 30 % of each sector with the highest
and the lowest return of the twelve months before the last one (momentum), at each month's last session, among names
with a year of prices; weights and simulation are the project's own, the sectors share the capital alike.

Each row is simulated four times: with a flat cost, and with itemised costs (the defaults of `backtest.*`) for books of
1, 10 and 100 million USD. The itemised ones have the fee for borrowing what is sold short.

The prices are of the index members of 2025, so that returns are too high by survivorship in every row alike; what is
compared is the rows. The risk-free rate is 0. Fifteen minutes of one core, most of them the solver's; `--into` keeps
the decided weights.
"""

import argparse
import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

from quant_assets.backtest.capacity import Capacity, by_capital
from quant_assets.backtest.intervals import bootstrap_interval
from quant_assets.backtest.metrics import max_drawdown, sharpe
from quant_assets.backtest.simulation import simulate
from quant_assets.backtest.statistics import Moments, deflated_sharpe_ratio
from quant_assets.market.calendar import decision_sessions, sessions
from quant_assets.portfolio.history import History, lookback_sessions
from quant_assets.portfolio.optimisers import OPTIMISERS
from quant_assets.portfolio.weights import sector_weights
from quant_assets.settings.trading import BacktestSettings
from quant_assets.settings.weights import Book, ConstraintSettings, WeightSettings

BOOKS: tuple[Book, ...] = ("long_only", "dollar_neutral")
FRACTION, HORIZON, SEED = 0.3, 20, 20_240_601
FLAT, ITEMISED = BacktestSettings(cost_bps=10.0), BacktestSettings(costs="itemised")
#: Sizes of the book in USD.
CAPITALS = (1e6, 1e7, 1e8)
#: Before the first decision: the covariance's window and the momentum's.
WARM_UP = 420


def read(folder: Path, first: date, last: date) -> dict[str, tuple[pl.DataFrame, pl.DataFrame]]:
    """Prices and indicators of each sector as the datasets have them, as far as they are read here."""
    days = sessions(date(first.year - 2, first.month, 1), last)
    newest = pl.read_parquet(folder / "securities.parquet").filter(pl.col("as_of") == pl.col("as_of").max())
    names = ["ticker", "date", "high", "low", "close", "volume"]
    bars = pl.read_parquet(folder / "prices_sp500_adjusted.parquet", columns=names).with_columns(
        pl.col("high", "low", "close", "volume").cast(pl.Float64)
    )
    bars = bars.filter(pl.col("date").is_between(days[0].item(), last)).sort("ticker", "date")
    close, daily = pl.col("close"), pl.col("close").pct_change()
    bars = bars.with_columns(
        momentum=(close.shift(21) / close.shift(252) - 1.0).over("ticker"),
        garch_volatility=(daily.rolling_std(60) * np.sqrt(252)).over("ticker"),
        median_volume=(close * pl.col("volume")).rolling_median(20).over("ticker"),
        dollar_volume=close * pl.col("volume"),
        panel_from="date",
        unexplained=pl.lit(False),
    )
    found = {}
    for (sector,), rows in (
        newest.select("ticker", "sector").unique("ticker").sort("sector").group_by("sector", maintain_order=True)
    ):
        own = bars.join(rows, on="ticker", how="semi").sort("ticker", "date")
        found[str(sector)] = (
            own.select("ticker", "date", "high", "low", "close", "dollar_volume", "panel_from", "unexplained"),
            own.select("ticker", "date", "momentum", "garch_volatility", dollar_volume="median_volume").drop_nulls(
                "garch_volatility"
            ),
        )
    return found


def candidates(indicators: pl.DataFrame, as_ofs: list[date]) -> pl.DataFrame:
    """The best and the worst by momentum at each decision, with a composite score in deviations."""
    value = pl.col("momentum")
    rows = indicators.filter(pl.col("date").is_in(as_ofs)).drop_nulls("momentum")
    rows = rows.with_columns(
        composite_score=((value - value.mean()) / value.std()).over("date"),
        place=value.rank("ordinal").over("date"),
        count=(pl.len() * FRACTION).floor().over("date"),
        names=pl.len().over("date"),
    )
    side = (
        pl.when(pl.col("place") > pl.col("names") - pl.col("count"))
        .then(pl.lit("long"))
        .when(pl.col("place") <= pl.col("count"))
        .then(pl.lit("short"))
    )
    chosen = rows.with_columns(candidate_type=side).drop_nulls(["candidate_type", "composite_score"])
    return chosen.select("ticker", "composite_score", "candidate_type", as_of="date").sort("ticker", "as_of")


def decided(
    sectors: dict[str, tuple[pl.DataFrame, pl.DataFrame]], settings: WeightSettings, as_ofs: list[date]
) -> pl.DataFrame:
    """Weights of the sectors together, each with the same share of the capital."""
    none = pl.DataFrame(schema={"ticker": pl.String, "date": pl.Date, "horizon": pl.Int32, "prediction": pl.Float64})
    before = sessions(date(as_ofs[0].year - 2, as_ofs[0].month, 1), as_ofs[-1])
    held = []
    for prices, indicators in sectors.values():
        universe = prices.select("ticker", "date")
        history = History(prices, universe, indicators, before) if lookback_sessions(settings) else None
        held.append(sector_weights(candidates(indicators, as_ofs), none, indicators, as_ofs, settings, history))
    return pl.concat(held).with_columns(pl.col("weight") / len(sectors))


@dataclass(frozen=True)
class Row:
    """Daily result with the flat cost, and what itemised costs leave by size of the book."""

    result: pl.DataFrame
    capacity: list[Capacity]


def simulated(weights: pl.DataFrame, prices: pl.DataFrame, as_ofs: list[date], last: date) -> Row:
    """The result of weights from the month after the first decision on."""
    days = sessions(date(as_ofs[0].year - 1, 1, 1), last)
    begin = date(as_ofs[0].year + as_ofs[0].month // 12, as_ofs[0].month % 12 + 1, 1)
    given = (weights, prices, days, as_ofs, begin, last)
    result = simulate(*given, entry_lag=1, settings=FLAT)
    return Row(result, by_capital(*given, CAPITALS, entry_lag=1, settings=ITEMISED))


def main(arguments: list[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--into", type=Path, help="keep decided weights there; what is there is not computed again")
    parser.add_argument("--from", dest="first", default="2009-12", help="month of the first decision [2009-12]")
    parser.add_argument("--to", dest="last", default="2025-09", help="last month [2025-09]")
    parser.add_argument("--sector", action="append", help="some of the file's sectors only, such as 'Energy'")
    parser.add_argument("--method", action="append", choices=list(OPTIMISERS), help="some of them only")
    asked = parser.parse_args(arguments)
    first, last = date.fromisoformat(f"{asked.first}-01"), date.fromisoformat(f"{asked.last}-28")
    every_sector, as_ofs = read(asked.folder, first, last), decision_sessions(first, last)
    if strange := sorted(set(asked.sector or ()) - set(every_sector)):
        parser.error(f"no sector '{strange[0]}'; there are {', '.join(every_sector)}")
    sectors = {name: every_sector[name] for name in asked.sector or every_sector}
    every = pl.concat([prices for prices, _ in sectors.values()])
    rows: dict[tuple[str, str], Row] = {}
    for book in BOOKS:
        for method in asked.method or OPTIMISERS:
            of = "".join(f"{name}_" for name in asked.sector or ())
            kept = (
                None if asked.into is None else asked.into / f"{of}{book}_{method}_{asked.first}_{asked.last}.parquet"
            )
            if kept is not None and kept.exists():
                weights = pl.read_parquet(kept)
            else:
                limits = ConstraintSettings(infeasible="cash")
                weights = decided(
                    sectors, WeightSettings(method=method, book=book, horizon=HORIZON, constraints=limits), as_ofs
                )
            if kept is not None:
                kept.parent.mkdir(parents=True, exist_ok=True)
                weights.write_parquet(kept)
            rows[book, method] = simulated(weights, every, as_ofs, last)
    Console(width=200).print(table(rows))
    return 0


def table(rows: dict[tuple[str, str], Row]) -> Table:
    """A row for each optimiser and book; the deflated Sharpe ratio counts the rows of the book as trials."""
    shown = Table(title="Net of costs, all sectors alike; Sharpe ratios per year, with 95 % intervals (bootstrap)")
    heads = ("book", "method", "return", "volatility", "gross Sharpe", "net Sharpe", "interval", "DSR", "drawdown")
    sizes = [f"net Sharpe of {capital / 1e6:.0f} m" for capital in CAPITALS]
    for head in (*heads, "turnover", "borrow fee", *sizes):
        shown.add_column(head, justify="left" if head in ("book", "method") else "right")
    nets = {name: row.result["net_return"].to_numpy() for name, row in rows.items()}
    for (book, method), row in rows.items():
        result = row.result
        net = nets[book, method]
        ratios = [float(each.mean() / each.std(ddof=1)) for (of, _), each in nets.items() if of == book]
        spread = float(np.var(ratios, ddof=1)) if len(ratios) > 1 else 0.0
        moments = Moments.of(net)
        deflated = np.nan if moments is None else deflated_sharpe_ratio(moments, len(ratios), spread)
        low, high = bootstrap_interval(net, "sharpe", 1_000, SEED) or (np.nan, np.nan)
        shown.add_row(
            book,
            method,
            f"{net.mean() * 252:.1%}",
            f"{net.std(ddof=1) * np.sqrt(252):.1%}",
            f"{sharpe(result['gross_return'].to_list()):.2f}",
            f"{sharpe(net.tolist()):.2f}",
            f"{low * np.sqrt(252):.2f} to {high * np.sqrt(252):.2f}",
            f"{deflated:.3f}",
            f"{max_drawdown(net.tolist()):.0%}",
            f"{result['turnover'].sum() / (len(result) / 252):.1f}",
            f"{row.capacity[0].terms['borrow']:.2%}",
            *("-" if each.sharpe is None else f"{each.sharpe:.2f}" for each in row.capacity),
        )
    return shown


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
