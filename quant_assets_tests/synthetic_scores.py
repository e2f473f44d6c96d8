"""A storage made by hand in which a sector has scores, prices, forecasts, statements and a backtest of some months."""

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from quant_assets.market.calendar import decision_sessions, first_session_from, sessions
from quant_assets.partitions import key, month_of, month_range, month_start
from quant_assets.portfolio.score_inputs import INPUTS, forecasts
from quant_assets.portfolio.scores import scores
from quant_assets.profile import Profile
from quant_assets.settings.loading import load_settings
from quant_assets_tests.synthetic_statements import statement

SECTOR, FIRST, LAST, AS_OF = "it", "2023-01", "2024-06", date(2024, 6, 28)
NAMES = [f"T{place:02d}" for place in range(16)]
#: Of them the last one is no member any more from 2024-06 on.
LEFT = NAMES[-1]

SETTINGS: dict[str, Any] = {"as_of": AS_OF, "partitions": {"start": FIRST}}
ENVIRONMENT = {"QUANT__AS_OF": str(AS_OF), "QUANT__PARTITIONS__START": FIRST}


def profile_at(storage: Path) -> Profile:
    """The profile whose storage is in a folder."""
    return Profile(load_settings("demo", **SETTINGS, storage=str(storage)))


def predicted(days: Sequence[date], signal: Sequence[float]) -> pl.DataFrame:
    """Dataset predictions of two horizons: the forecast of a name is its signal, in the order of `NAMES`."""
    rows = [
        {
            "sector": SECTOR,
            "ticker": name,
            "date": day,
            "horizon": horizon,
            "prediction": 0.01 * horizon**0.5 * value,
            "prediction_std": 0.02 * horizon**0.5,
            "prediction_lower": None,
            "prediction_upper": None,
            "prob_up": 0.55,
            "confidence": 0.1,
            "model": "linear",
            "model_version": "0" * 12,
        }
        for day in days
        for name, value in zip(NAMES, signal, strict=True)
        for horizon in (5, 20)
    ]
    return pl.DataFrame(rows, infer_schema_length=None)


def write_scores(profile: Profile, predictions: pl.DataFrame, months: Sequence[str]) -> None:
    """Score the members of some months, of figures made by hand and the forecasts given."""
    decisions = decision_sessions(month_start(months[0]), AS_OF)
    rng = np.random.default_rng(1)
    figures = {each.name: rng.uniform(0.05, 0.95, len(NAMES)) for each in INPUTS if each.name != "upside"}
    figures["high_52w_distance"] = -figures["high_52w_distance"]
    extra = {
        "market_value": 1e10 * rng.uniform(1, 9, len(NAMES)),
        "operating_profitability": rng.normal(0.2, 0.1, len(NAMES)),
        "asset_growth": rng.normal(0.1, 0.05, len(NAMES)),
        "price_to_earnings": 1 / figures["earnings_yield"],
        "price_to_book": 1 / figures["book_to_market"],
        "ev_to_ebitda": 1 / figures["ebitda_yield"],
    }
    given = {
        "close_unadjusted": 50.0,
        "revenue_growth": 0.05,
        "free_cash_flow": 1e8,
        "net_debt": 2e8,
        "shares_outstanding": 1e7,
        "earnings_per_share": 4.0,
        "book_per_share": 10.0,
        "statement_age_days": 20.0,
    }
    of_names = pl.DataFrame({"ticker": pl.Series(NAMES, dtype=pl.String), **figures, **extra}).with_columns(
        **{name: pl.lit(value) for name, value in given.items()}
    )
    rows = pl.concat([of_names.with_columns(as_of=pl.lit(day)) for day in decisions])
    rows = rows.filter((pl.col("ticker") != LEFT) | (pl.col("as_of") < AS_OF)).sort("ticker", "as_of")
    said = forecasts(predictions, decisions).rename({"date": "as_of"})
    rows = rows.join(said, on=["ticker", "as_of"], how="left", maintain_order="left")
    found = scores(rows, profile.settings.scores, SECTOR).with_columns(sector=pl.lit(SECTOR))
    wanted = [month for month in months if month in {month_of(day) for day in decisions}]
    found = found.filter(pl.col("as_of").dt.strftime("%Y-%m").is_in(wanted))
    profile.store.write(profile.datasets["scores"], found, [key(SECTOR, each) for each in wanted], lambda _: AS_OF)


def write(storage: Path) -> Profile:
    """Fill a folder; the same bytes each time."""
    profile = profile_at(storage)
    store, datasets, months = profile.store, profile.datasets, month_range(FIRST, LAST)
    keys, days = [key(SECTOR, each) for each in months], sessions(month_start(FIRST), AS_OF)
    rng = np.random.default_rng(2)
    common = 0.008 * rng.normal(size=len(days))
    bars = []
    for name in NAMES:
        close = 80.0 * np.exp(np.cumsum(common + 0.01 * rng.normal(size=len(days))))
        bars.append(
            pl.DataFrame({"date": pl.Series(days, dtype=pl.Date), "close": close}).with_columns(
                sector=pl.lit(SECTOR), ticker=pl.lit(name), listed=pl.lit(days[0].item(), pl.Date)
            )
        )
    prices = pl.concat(bars).with_columns(
        panel_from=pl.col("date"), close_unadjusted=pl.lit(50.0), in_sector=pl.lit(True), unexplained=pl.lit(False)
    )
    own = prices.group_by("date", maintain_order=True).agg(mean=(pl.col("close")).mean()).sort("date")
    net = own.select("date", net_return=(pl.col("mean") / pl.col("mean").shift() - 1.0).fill_null(0.0))
    backtest = net.with_columns(
        sector=pl.lit(SECTOR), gross_return=pl.col("net_return"), positions=pl.lit(3, pl.Int32), turnover=pl.lit(0.0)
    )
    end = date(2024, 3, 31)
    known = first_session_from(date(2024, 5, 1))
    told = [statement(end, known, ticker="T00", revenue=1e9, net_income=1e8, cash=5e7) | {"sector": SECTOR}]
    later = statement(date(2024, 6, 30), first_session_from(date(2024, 8, 1)), ticker="T00", revenue=9e9)
    assert later["known_at"] > AS_OF  # type: ignore[operator]
    predictions = predicted([AS_OF], [float(place) for place in range(len(NAMES))])
    for name, rows, which in (
        ("prices", prices, keys),
        ("backtest", backtest, keys),
        ("fundamentals", pl.DataFrame(told), keys),
        ("predictions", predictions, keys[-1:]),
    ):
        empty = datasets[name].empty()
        stored = pl.concat([empty, rows.select(set(empty.columns) & set(rows.columns))], how="diagonal_relaxed")
        store.write(datasets[name], stored.select(empty.columns).cast(dict(empty.schema)), which, lambda _: AS_OF)
    write_scores(profile, predictions, months)
    return profile
