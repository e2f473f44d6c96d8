"""Factor returns of one's own universe: by hand, held from the decision on, and nothing of what comes later."""

from datetime import date

import numpy as np
import polars as pl
import pytest

from quant_assets.backtest.own_factors import COLUMNS, FEWEST, own_factors
from quant_assets.market.calendar import decision_sessions, sessions

DAYS = sessions(date(2021, 1, 4), date(2021, 3, 31))
DECISIONS = decision_sessions(date(2021, 1, 1), date(2021, 2, 28))
NAMES = [f"T{place:02d}" for place in range(20)]


def scores(**more: pl.Expr) -> pl.DataFrame:
    """Odd names are big; book to market rises with the place, the other characteristics fall with it."""
    place = pl.int_range(len(NAMES), eager=False)
    frame = pl.DataFrame({"ticker": pl.Series(NAMES, dtype=pl.String)}).with_columns(
        market_value=pl.when(place % 2 == 1).then(1e9).otherwise(1e8),
        book_to_market=place.cast(pl.Float64),
        operating_profitability=-place.cast(pl.Float64),
        asset_growth=-place.cast(pl.Float64),
        momentum_12_1=-place.cast(pl.Float64),
    )
    return pl.concat([frame.with_columns(as_of=pl.lit(day)) for day in DECISIONS]).with_columns(**more).select(COLUMNS)


def prices(step: np.ndarray) -> pl.DataFrame:
    """Each name's close grows by its own step each session."""
    rows = [
        {"ticker": name, "date": day, "listed": DAYS[0].item(), "close": 10.0 * (1 + step[place]) ** at}
        for place, name in enumerate(NAMES)
        for at, day in enumerate(DAYS.tolist())
    ]
    return pl.DataFrame(rows).with_columns(unexplained=pl.lit(False))


STEP = np.linspace(-0.01, 0.01, len(NAMES))


def test_by_hand() -> None:
    found = own_factors(scores(), prices(STEP), DAYS, DAYS[-1].item()).rows
    after = DAYS[np.datetime64(DECISIONS[0]) < DAYS]
    assert found["period"].to_list() == after.tolist(), "from the session after the first decision on"
    first = found.row(0, named=True)
    # Thirds of 20 names: places 0 to 5, 6 to 13, 14 to 19; within one all small names weigh the same, as all big ones.
    steps = {(size, third): np.mean([STEP[p] for p in third if p % 2 == size]) for size in (0, 1) for third in THIRDS}
    low, _, high = THIRDS
    value = (steps[0, high] + steps[1, high] - steps[0, low] - steps[1, low]) / 2
    assert first["hml"] == pytest.approx(value)
    assert first["mom"] == pytest.approx(-value), "the losers rise"
    assert first["rmw"] == pytest.approx(-value)
    assert first["cma"] == pytest.approx(value), "low growth is held long"
    assert first["smb"] == pytest.approx(np.mean([steps[0, t] - steps[1, t] for t in THIRDS]))
    weight = np.where(np.arange(20) % 2 == 1, 10.0, 1.0)
    assert first["mkt_rf"] == pytest.approx((weight * STEP).sum() / weight.sum())


THIRDS = (tuple(range(6)), tuple(range(6, 14)), tuple(range(14, 20)))


def test_a_later_decision_or_price_changes_nothing_before() -> None:
    whole = own_factors(scores(), prices(STEP), DAYS, DAYS[-1].item()).rows
    cut = DECISIONS[1]
    later = scores(market_value=pl.when(pl.col("as_of") == cut).then(1e7).otherwise("market_value"))
    wild = prices(STEP).with_columns(close=pl.when(pl.col("date") > cut).then(99.0).otherwise("close"))
    found = own_factors(later, wild, DAYS, DAYS[-1].item()).rows
    early = pl.col("period") <= cut
    assert found.filter(early).equals(whole.filter(early))
    assert not found.filter(~early).equals(whole.filter(~early))
    short = own_factors(scores(), prices(STEP), DAYS[np.datetime64(cut) >= DAYS], cut).rows
    assert short.equals(whole.filter(early))


def test_who_leaves_is_cash_and_an_unexplained_rise_is_no_return() -> None:
    given = prices(STEP)
    gone = given.filter(~((pl.col("ticker") == "T19") & (pl.col("date") > date(2021, 2, 10))))
    found = own_factors(scores(), gone, DAYS, DAYS[-1].item()).rows
    assert found["mkt_rf"].is_not_null().all()
    jump = (pl.col("ticker") == "T19") & (pl.col("date") >= date(2021, 2, 10))
    wild = given.with_columns(
        close=pl.when(jump).then(pl.col("close") * 50).otherwise("close"),
        unexplained=(pl.col("ticker") == "T19") & (pl.col("date") == date(2021, 2, 10)),
    )
    contained = own_factors(scores(), wild, DAYS, DAYS[-1].item()).rows
    assert contained["mkt_rf"].max() < 0.02


def test_too_few_names_have_no_factor() -> None:
    few = pl.col("ticker").is_in(NAMES[: FEWEST - 1])
    given = scores(book_to_market=pl.when(few).then("book_to_market"))
    found = own_factors(given, prices(STEP), DAYS, DAYS[-1].item()).rows
    assert found["hml"].is_null().all()
    assert found["smb"].is_null().all()
    assert found["mom"].is_not_null().all()
    assert found["mkt_rf"].is_not_null().all()
