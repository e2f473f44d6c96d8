"""Risk of books with shorts: what a missing return is stood for by, coverage, and sessions until all is closed."""

import numpy as np
import polars as pl
import pytest

from quant_assets.portfolio.book import TOTALS
from quant_assets.risk import breakdown
from quant_assets.risk.holdings import Holdings, holdings
from quant_assets.settings.risk import RiskSettings
from quant_assets_tests.risk.panels import DAYS, decision, prices

AS_OF = DAYS[500].item()
SETTINGS = RiskSettings(window=300, min_observations=100, capital=1e6, participation=0.1)
#: Two longs and two shorts (long only: four longs) whose sizes sum to the book's totals; of beta neutral .8 short.
BOOKS = {
    "long_only": {"N0": 0.4, "N1": 0.2, "N2": 0.3, "N3": 0.1},
    "dollar_neutral": {"N0": 0.6, "N1": 0.4, "N2": -0.7, "N3": -0.3},
    "beta_neutral": {"N0": 0.6, "N1": 0.4, "N2": -0.5, "N3": -0.3},
    "130_30": {"N0": 0.9, "N1": 0.4, "N2": -0.2, "N3": -0.1},
}
#: Sessions of the window before the name without early bars has any.
LATE = 100


def held(book: str, absent: str, min_coverage: float = 0.5) -> Holdings:
    bars = prices()
    first = DAYS[500 - 299 + LATE].item()
    bars = bars.filter((pl.col("ticker") != absent) | (pl.col("date") >= first))
    return holdings(decision(AS_OF, BOOKS[book]), bars, DAYS, AS_OF, 300, AS_OF, min_coverage)


def test_there_is_a_book_of_each_kind() -> None:
    assert set(BOOKS) == set(TOTALS)


@pytest.mark.parametrize("absent", ["N1", "N3"])
@pytest.mark.parametrize("book", BOOKS)
def test_a_missing_name_is_stood_for_by_its_own_side(book: str, absent: str) -> None:
    weights, found = BOOKS[book], held(book, absent)
    at = {name: place for place, name in enumerate(found.tickers)}
    side = [name for name, w in weights.items() if name != absent and (w < 0.0) == (weights[absent] < 0.0)]
    sizes = np.array([abs(weights[name]) for name in side])
    expected = sizes @ found.returns[[at[name] for name in side], :LATE] / sizes.sum()
    assert found.returns[at[absent], :LATE] == pytest.approx(expected, abs=1e-15)
    assert np.isfinite(found.total).all()
    whole = held(book, "none")
    early = np.std(found.total[:LATE]) / np.std(whole.total[:LATE])
    assert 0.5 < early < 2.0, "the book has its risk then too"


def test_a_name_alone_on_its_side_is_stood_for_by_the_others() -> None:
    weights = {"N0": 0.6, "N1": 0.4, "N2": -0.5}
    bars = prices().filter((pl.col("ticker") != "N2") | (pl.col("date") > DAYS[300].item()))
    found = holdings(decision(AS_OF, weights), bars, DAYS, AS_OF, 300, AS_OF, 0.5)
    assert found.returns[2, :50] == pytest.approx(0.6 * found.returns[0, :50] + 0.4 * found.returns[1, :50])


@pytest.mark.parametrize("book", BOOKS)
def test_coverage_is_of_longs_and_shorts_together(book: str) -> None:
    weights = BOOKS[book]
    share = 1.0 - abs(weights["N3"]) / sum(abs(w) for w in weights.values())
    for demanded, there in ((share - 0.01, True), (share + 0.01, False)):
        assert np.isfinite(held(book, "N3", demanded).total[:LATE]).all() == there
        assert np.isfinite(held(book, "N3", demanded).total[LATE + 1 :]).all()
    episode = {"crisis": {name: (-0.3, name != "N3") for name in weights}}
    rows = breakdown.replayed(held(book, "none"), episode)
    (coverage,) = (row["value"] for row in rows if row["figure"] == "coverage")
    assert coverage == pytest.approx(share, abs=1e-12)
    (loss,) = (row["value"] for row in rows if row["figure"] == "loss")
    assert loss == pytest.approx(0.3 * sum(weights.values()), abs=1e-12)


@pytest.mark.parametrize("book", BOOKS)
def test_shorts_take_as_long_to_buy_back_as_longs_to_sell(book: str) -> None:
    weights = BOOKS[book]
    volume = dict.fromkeys(weights, 2e6)
    rows = breakdown.liquidity(held(book, "none"), volume, SETTINGS)
    each = {row["item"]: row["value"] for row in rows if row["part"] == "position"}
    assert each == pytest.approx({name: abs(w) * 1e6 / (0.1 * 2e6) for name, w in weights.items()})
    total = {row["figure"]: row["value"] for row in rows if row["part"] == "portfolio"}
    assert total["sessions_to_sell"] == pytest.approx(max(each.values()))
    # All names are closed at the same rate, so that what is left at a time is what is above it.
    at, gross = total["sessions_to_sell_90"], sum(abs(w) for w in weights.values())
    left = sum(max(abs(w) - at * 0.1 * 2e6 / 1e6, 0.0) for w in weights.values())
    assert left == pytest.approx(0.1 * gross, abs=1e-9)
