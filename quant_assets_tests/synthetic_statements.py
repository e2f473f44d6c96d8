"""Statements of the synthetic sector, and single ones made by hand."""

from collections.abc import Callable
from datetime import date, timedelta

import numpy as np
import polars as pl

from quant_assets.market.calendar import first_session_from
from quant_assets.partitions import month_of
from quant_assets.schemas import DATASETS
from quant_assets_tests.synthetic import Market

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
#: Told by few of the tests.
OF_CASH = ("depreciation", "operating_cash_flow", "capital_expenditure", "cash")


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
        **dict.fromkeys((*FIGURES, *OF_CASH)),
        "panel_from": known_at,
        **more,
    }


def as_fundamentals(rows: list[dict[str, object]]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=DATASETS["fundamentals"].schema)


def statements_of(market: Market) -> pl.DataFrame:
    """Quarterly and annual statements of the market's tickers, with restatements, gaps and a second provider."""
    rng = np.random.default_rng(12)
    entered = dict(market.prices.group_by("ticker").agg(pl.col("panel_from").min()).rows())
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


def month_ends_of(days: np.ndarray) -> list[date]:
    """The last of the sessions in each month."""
    return list({month_of(day): day for day in days.tolist()}.values())
