"""`python -m benchmarks.value_at_risk FOLDER`: value at risk and regimes over real history, as tables.

FOLDER holds `prices_sp500_adjusted.parquet` (ticker, date, close), `securities.parquet` (ticker, sector, as_of) and
`sp500_membership.parquet` (ticker, start_date, end_date). The portfolio holds the sectors' equal-weight members, the
sectors weighted by inverse volatility of the last 252 sessions, decided at each month's last session. Forecasts and
regimes are those of the datasets: for a session from data known at the close before, for a month from data known at its
last session. The prices are those of today's members and their past: failed companies are missing, so the tails are too
thin. A ticker's sector is that of its first snapshot.
"""

import argparse
import time
from datetime import date
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

from quant_assets.market.calendar import decision_sessions, sessions
from quant_assets.market.panel import FloatArray
from quant_assets.market.sector_return import equal_weight_returns
from quant_assets.risk.forecasts import of_method, var_forecasts
from quant_assets.risk.regimes import regimes
from quant_assets.risk.value_at_risk import METHODS
from quant_assets.settings.risk import MarkovSettings, RegimeSettings, RiskSettings

START, THROUGH = date(2000, 1, 3), date(2025, 9, 30)
#: Sessions of the volatilities in the sectors' weights.
VOLATILITY_SESSIONS = 252
#: Months of the regimes in the table.
SHOWN = ((date(2007, 1, 1), date(2010, 12, 31)), (date(2020, 1, 1), date(2020, 12, 31)))

DAYS = sessions(START, THROUGH)


def members(folder: Path) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Prices of members with their sector, in the shape of dataset prices, and the members by date."""
    sectors = (
        pl.read_parquet(folder / "securities.parquet").sort("as_of").group_by("ticker").agg(pl.col("sector").first())
    )
    bars = pl.read_parquet(folder / "prices_sp500_adjusted.parquet", columns=["ticker", "date", "close"])
    bars = bars.filter(pl.col("date").is_in(DAYS.tolist())).join(sectors, on="ticker")
    spells = pl.read_parquet(folder / "sp500_membership.parquet", columns=["ticker", "start_date", "end_date"])
    universe = (
        bars.select("ticker", "date", "sector")
        .join(spells, on="ticker")
        .filter((pl.col("date") >= pl.col("start_date")) & (pl.col("date") <= pl.col("end_date").fill_null(THROUGH)))
        .select("ticker", "date", "sector")
        .unique()
    )
    prices = bars.with_columns(
        panel_from=pl.col("date"), unexplained=pl.lit(False), close=pl.col("close").cast(pl.Float64)
    )
    return prices, universe


def returns_of(prices: pl.DataFrame, universe: pl.DataFrame) -> dict[str, FloatArray]:
    """Equal-weight returns of each sector, and of the market."""
    names = universe["sector"].unique().sort().to_list()
    of_sectors = {
        name: equal_weight_returns(
            prices.filter(pl.col("sector") == name), universe.filter(pl.col("sector") == name), DAYS
        )
        for name in names
    }
    return of_sectors | {"market": equal_weight_returns(prices, universe, DAYS)}


def decisions(returns: dict[str, FloatArray], first: date) -> pl.DataFrame:
    """Weights of the sectors by inverse volatility at each decision."""
    rows = []
    for as_of in decision_sessions(first, THROUGH):
        at = int(np.searchsorted(DAYS, np.datetime64(as_of)))
        windows = {name: values[at - VOLATILITY_SESSIONS + 1 : at + 1] for name, values in returns.items()}
        inverse = {name: 1.0 / window.std() for name, window in windows.items() if np.isfinite(window).all()}
        total = sum(inverse.values())
        rows += [{"ticker": name, "as_of": as_of, "weight": share / total} for name, share in inverse.items()]
    return pl.DataFrame(rows)


def indices(returns: dict[str, FloatArray]) -> pl.DataFrame:
    """Sectors as names with a price, in the shape of dataset prices; null before a sector's first return."""
    parts = []
    for name, values in returns.items():
        observed = np.isfinite(values)
        level = np.where(observed, 100.0 * np.cumprod(1.0 + np.where(observed, values, 0.0)), np.nan)
        parts.append(pl.DataFrame({"ticker": name, "date": DAYS, "close": level}).filter(pl.col("close").is_not_nan()))
    return pl.concat(parts).with_columns(panel_from=pl.col("date"), unexplained=pl.lit(False))


def tested(forecasts: pl.DataFrame, levels: tuple[float, ...]) -> Table:
    """Back-tests of each method and level over all sessions."""
    columns = (
        "sessions",
        "exceptions",
        "expected",
        "Kupiec p",
        "independence p",
        "both p",
        "Z2",
        "Z2 p",
        "zone",
        "years red",
    )
    table = Table("method", "level", *columns, title="Value at risk, one session ahead")
    for method in METHODS:
        for level in levels:
            tests = of_method(forecasts, method, level)
            if tests is None:
                continue
            table.add_row(
                method,
                f"{level:.0%}",
                str(tests.sessions),
                str(tests.exceptions),
                f"{tests.sessions * (1 - level):.1f}",
                f"{tests.kupiec.p_value:.4f}",
                f"{tests.independence.p_value:.4f}",
                f"{tests.conditional_coverage.p_value:.4f}",
                f"{tests.shortfall:.2f}",
                f"{tests.shortfall_p_value:.4f}",
                tests.traffic_light,
                _by_year(forecasts, method, level),
            )
    return table


def _by_year(forecasts: pl.DataFrame, method: str, level: float) -> str:
    """Years in Basel's red zone."""
    red = []
    for (year,), part in sorted(forecasts.group_by(pl.col("date").dt.year())):
        tests = of_method(part, method, level)
        if tests is not None and tests.traffic_light == "red":
            red.append(str(year))
    return ", ".join(red) or "none"


def judged(market: FloatArray, settings: RegimeSettings) -> Table:
    """Regimes of the market at the month ends of the table."""
    table = Table(
        "as of", "thresholds", "rules", "volatility", "drawdown", "trend", "Markov", "P(risk-off)", title="Market"
    )
    for first, last in SHOWN:
        for row in regimes(market, DAYS, decision_sessions(first, last), set(DAYS.tolist()), settings):
            off = row.get("markov_risk_off")
            table.add_row(
                str(row["as_of"]),
                row["regime"],
                row["rule_state"],
                f"{row['rule_volatility']:.1%}",
                f"{row['drawdown']:.1%}",
                f"{row['rule_trend']:+.1%}",
                str(row.get("markov_state")),
                "–" if off is None else f"{off:.3f}",
            )
    return table


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--from", dest="first", type=date.fromisoformat, default=date(2007, 1, 1))
    parser.add_argument("--states", type=int, default=2)
    parser.add_argument("--emissions", default="student_t", choices=["student_t", "gaussian"])
    arguments = parser.parse_args()
    console, started = Console(width=170), time.perf_counter()
    prices, universe = members(arguments.folder)
    returns = returns_of(prices, universe)
    market = returns.pop("market")
    settings = RiskSettings()
    before = decision_sessions(date(arguments.first.year - 1, 12, 1), THROUGH)
    months = [
        (as_of, DAYS[int(np.searchsorted(DAYS, np.datetime64(as_of))) + 1].item(), last)
        for as_of, last in pairwise(before)
    ]
    forecasts = var_forecasts(decisions(returns, before[0]), indices(returns), DAYS, months, settings)
    console.print(tested(forecasts, settings.levels))
    markov = MarkovSettings(emissions=arguments.emissions, states=arguments.states)
    console.print(judged(market, RegimeSettings(markov=markov)))
    console.print(f"measured in {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
