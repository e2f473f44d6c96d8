"""The synthetic sector of the signals tests, with statements and carried maxima."""

from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from quant_assets.features import core
from quant_assets.features.ohlcv import peaks
from quant_assets.market.calendar import first_session_from, sessions
from quant_assets.market.panel import STALE_SESSIONS, Panel
from quant_assets.partitions import month_of
from quant_assets.schemas import DATASETS
from quant_assets.windows.declarations import Feature, FeatureSet
from quant_assets.windows.windows import Windows
from quant_assets_tests.synthetic import cut, identical, load, market, nothing_infinite, only

__all__ = ["cut", "identical", "load", "market", "nothing_infinite", "only"]

Statement = Callable[..., dict[str, object]]

FIGURES = (
    "revenue",
    "gross_profit",
    "operating_income",
    "net_income",
    "total_assets",
    "total_equity",
    "total_debt",
    "shares",
)


def statement(
    period_end: date, known_at: date, frequency: str = "quarterly", ticker: str = "A", **more: object
) -> dict[str, object]:
    """One row of dataset fundamentals."""
    return {
        "ticker": ticker,
        "period_end": period_end,
        "frequency": frequency,
        "published": known_at - timedelta(days=1),
        "known_at": known_at,
        "provider": "p",
        "restated": False,
        **dict.fromkeys(FIGURES),
        "panel_from": known_at,
        **more,
    }


def as_fundamentals(rows: list[dict[str, object]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=DATASETS["fundamentals"].schema)


@pytest.fixture(scope="session", name="statement")
def _statement() -> Statement:
    return statement


@pytest.fixture(scope="session", name="as_fundamentals")
def _as_fundamentals() -> Callable[[list[dict[str, object]]], pl.DataFrame]:
    return as_fundamentals


@pytest.fixture(scope="session")
def statements(market: object) -> pl.DataFrame:
    """Quarterly and annual statements of the market's tickers, with restatements, gaps and a second provider."""
    rng = np.random.default_rng(12)
    prices = market.prices  # type: ignore[attr-defined]
    entered = dict(prices.group_by("ticker").agg(pl.col("panel_from").min()).rows())
    quarter_ends = pl.date_range(date(2016, 3, 31), date(2021, 3, 31), "1q", eager=True).dt.month_end().to_list()
    rows = []
    for ticker, start in sorted(entered.items()):
        size = float(rng.lognormal(20, 1))
        for end in quarter_ends:
            for frequency, factor in (("quarterly", 1.0), ("annual", 4.0)):
                if (frequency == "annual" and end.month != 12) or (frequency == "quarterly" and ticker == "HALT"):
                    continue
                if rng.uniform() < 0.05:
                    continue  # a statement that no provider has
                for version in range(1 + int(rng.uniform() < 0.15)):
                    known = max(
                        first_session_from(end + timedelta(days=int(rng.integers(25, 60)) + 40 * version)),
                        date(2017, 1, 3),
                    )
                    figures = dict(zip(FIGURES, (size * rng.normal(1, 0.3, len(FIGURES))).tolist(), strict=True))
                    figures |= {name: factor * figures[name] for name in FIGURES[:4]} | {
                        "shares": 1e6 * float(rng.uniform(1, 2))
                    }
                    row = statement(end, known, frequency, ticker, restated=version > 0, **figures)
                    rows.append(
                        row | {"panel_from": max(known, start), "provider": "q" if rng.uniform() < 0.2 else "p"}
                    )
    frame = as_fundamentals(rows)
    assert frame["restated"].sum() > 5
    return frame.sort(DATASETS["fundamentals"].key)


@pytest.fixture(scope="session")
def month_ends() -> Callable[[np.ndarray], list[date]]:
    """The last of the sessions in each month."""

    def last_sessions(days: np.ndarray) -> list[date]:
        return list({month_of(day): day for day in days.tolist()}.values())

    return last_sessions


@pytest.fixture(scope="session")
def price_peaks(market: object, month_ends: Callable[[np.ndarray], list[date]]) -> pl.DataFrame:
    days = market.days  # type: ignore[attr-defined]
    return peaks(market.prices, days, month_ends(days))  # type: ignore[attr-defined]


# --- Panels of bars for the features that are windows over them -------------------------------------------------------


def _bar_panel(
    rng: np.random.Generator, tickers: int, days: np.ndarray, steps: int = 8, volatility: float = 0.02
) -> Panel:
    """Bars of random walks with an overnight step; volume rises with the size of the move."""
    moves = rng.normal(0, volatility / np.sqrt(steps), (tickers, len(days), steps))
    moves[:, :, 0] *= 2.0 if steps == 8 else 0.0
    path = 50.0 * np.exp(np.cumsum(moves.reshape(tickers, -1), axis=1).reshape(moves.shape))
    day = np.abs(np.log(path[:, :, -1] / path[:, :, 0]))
    volume = np.round(1e6 * np.exp(0.3 * rng.normal(size=day.shape) + 10.0 * day))
    fields = {
        "open": path[:, :, 0],
        "high": path.max(axis=2),
        "low": path.min(axis=2),
        "close": path[:, :, -1],
        "volume": volume,
    }
    fields = {name: np.ascontiguousarray(values) for name, values in fields.items()} | {
        "dollar_volume": path[:, :, -1] * volume
    }
    returns = np.full(day.shape, np.nan)
    returns[:, 1:] = path[:, 1:, -1] / path[:, :-1, -1] - 1
    return Panel(
        tuple("ABCDEFG"[:tickers]),
        days,
        fields | {"sector_return": returns.mean(axis=0) + 0.001 * rng.normal(size=len(days))},
    )


def _evaluator(panel: Panel) -> Callable[[str], np.ndarray]:
    """Values of one feature, hidden or not, over a panel."""
    library = FeatureSet(feature for feature in core.FEATURES if isinstance(feature, Feature))
    windows, known = Windows(panel.sessions), {}

    def values(name: str) -> np.ndarray:
        if name not in known:
            known[name] = library.evaluate(panel.fields, windows, [name])[name]
        return known[name]

    values.panel = panel  # type: ignore[attr-defined]
    return values


@pytest.fixture(scope="session")
def bar_panel() -> Panel:
    """Four tickers from 2017 to 2019: complete, gaps of one or two sessions, a halt of thirty, a late listing."""
    panel = _bar_panel(np.random.default_rng(14), 4, sessions(date(2017, 1, 1), date(2019, 12, 31)))
    holes = np.zeros(panel.shape, dtype=bool)
    holes[1, 40::60] = holes[1, 41::120] = True
    holes[2, 470:500] = True
    holes[3, :330] = True
    for name, values in panel.fields.items():
        if name != "sector_return":
            values[holes] = np.nan
    return panel


@pytest.fixture(scope="session")
def flat_panel() -> Panel:
    """Two tickers: one whose price never moves, one whose volume ends with the first half of the sessions."""
    panel = _bar_panel(np.random.default_rng(15), 2, sessions(date(2017, 1, 1), date(2019, 12, 31)))
    for name in ("open", "high", "low", "close"):
        panel.fields[name][0] = 0.1
    for name in ("volume", "dollar_volume"):
        panel.fields[name][1, panel.shape[1] // 2 :] = 0.0
    return panel


@pytest.fixture(scope="session")
def bar_values(bar_panel: Panel) -> Callable[[str], np.ndarray]:
    return _evaluator(bar_panel)


@pytest.fixture(scope="session")
def flat_values(flat_panel: Panel) -> Callable[[str], np.ndarray]:
    return _evaluator(flat_panel)


@pytest.fixture(scope="session")
def drift_free() -> Callable[[str], np.ndarray]:
    """Features of seven tickers without drift or overnight moves, of 20 % volatility a year."""
    days = sessions(date(2018, 1, 1), date(2018, 12, 31))
    return _evaluator(_bar_panel(np.random.default_rng(16), 7, days, 400, 0.20 / np.sqrt(252)))


@pytest.fixture(scope="session")
def real_values(shared_data: Path) -> Callable[[str], np.ndarray]:
    """Features of five real tickers since 2000: long-lived, volatile, listed later."""
    tickers = ["AAPL", "AIG", "JPM", "TSLA", "XOM"]
    frame = (
        pl.scan_parquet(shared_data / "prices_sp500_adjusted.parquet")
        .filter(pl.col("ticker").is_in(tickers), pl.col("date") < date(2025, 10, 8))
        .with_columns(pl.col("open", "high", "low", "close", "volume").cast(pl.Float64))
        .with_columns(dollar_volume=pl.col("close") * pl.col("volume"))
        .collect()
    )
    panel = Panel.from_long(
        frame,
        sessions(date(2000, 1, 1), date(2025, 10, 7)),
        ["open", "high", "low", "close", "volume", "dollar_volume"],
    )
    returns = panel["close"][:, 1:] / panel["close"][:, :-1] - 1
    return _evaluator(
        Panel(
            panel.tickers,
            panel.sessions,
            {**panel.fields, "sector_return": np.concatenate([[np.nan], np.nanmean(returns, axis=0)])},
        )
    )


@pytest.fixture(scope="session")
def compacted() -> Callable[..., Iterator[tuple[str, SimpleNamespace, Callable[[str], np.ndarray]]]]:
    """Ticker, its bars without the sessions that have none (what TA-Lib is given), and its values at them.

    Tickers with a halt longer than `STALE_SESSIONS` are left out, which TA-Lib steps over and we do not; `full=True`
    leaves out every ticker with a gap: a window of w sessions is then one of w bars.
    """

    def each(
        values: Callable[[str], np.ndarray], full: bool = False
    ) -> Iterator[tuple[str, SimpleNamespace, Callable[[str], np.ndarray]]]:
        panel = values.panel  # type: ignore[attr-defined]
        for i, ticker in enumerate(panel.tickers):
            there = np.flatnonzero(np.isfinite(panel["close"][i]))
            longest = np.diff(there).max() - 1
            if longest > (0 if full else STALE_SESSIONS):
                continue
            bars = SimpleNamespace(
                **{name: array[i, there].copy() for name, array in panel.fields.items() if array.ndim == 2}
            )
            yield ticker, bars, lambda name, i=i, there=there: values(name)[i, there]

    return each
