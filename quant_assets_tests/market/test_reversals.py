"""Jumps that reverse: the level after them is the level before them, however the first jump was treated."""

from collections.abc import Callable
from datetime import date

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quant_assets.market import calendar
from quant_assets.market.bars import CompanyBars, company_bars
from quant_assets.settings.domain import BarSettings
from quant_assets.sources.base import DELISTINGS
from quant_assets_tests.synthetic_bars import make_bars

DAYS = calendar.sessions(date(2020, 1, 1), date(2020, 12, 31))
NONE = DELISTINGS.to_frame()
Build = Callable[..., pl.DataFrame]


def _found(*bars: pl.DataFrame) -> CompanyBars:
    raw = pl.concat(bars).sort("ticker", "date", "precedence", maintain_order=True)
    return company_bars(raw, NONE, DAYS, BarSettings())


def _level(bars: CompanyBars) -> np.ndarray:
    return bars.series.select(pl.col("close") * pl.col("price_factor")).to_series().to_numpy()


def _events(bars: CompanyBars) -> list[tuple[str, str]]:
    return bars.events.select("kind", "action").rows()


def _bars(closes: list[float], volumes: list[float], **columns: object) -> pl.DataFrame:
    return make_bars(DAYS[: len(closes)], closes, **({"volume": volumes} | columns))


def test_a_split_that_comes_back_thirteen_per_cent_lower_is_undone() -> None:
    bars = _bars([30.0, 29.5, 1.47, 25.7, 25.9], [5e5, 5e5, 8e6, 5e5, 5e5])
    result = _found(bars)
    assert _events(result) == [("split_unflagged", "repaired"), ("reversal", "repaired")]
    np.testing.assert_allclose(_level(result), [30.0, 29.5, 29.4, 25.7, 25.9])
    np.testing.assert_allclose(result.series["split_factor"], [1.0, 1.0, 20.0, 1.0, 1.0])
    assert not result.series["unexplained"].any()
    for count in range(1, 6):  # what was written before stays
        early = _found(bars[:count])
        assert early.series.equals(result.series[:count])
        assert early.events.equals(result.events.filter(pl.col("date") <= DAYS[count - 1].item()))


def test_some_days_and_two_steps_back() -> None:
    result = _found(_bars([30.0, 600.0, 610.0, 136.0, 30.6, 30.0], [5e5, 2.5e4, 2.5e4, 1e5, 5e5, 5e5]))
    assert _events(result)[-1] == ("reversal", "repaired")
    np.testing.assert_allclose(_level(result)[[0, 4, 5]], [30.0, 30.6, 30.0])


def test_a_second_leg_that_looks_like_a_split_is_the_way_back() -> None:
    # The fall is not taken for a split: eight times the dollars were traded. The rise would be.
    result = _found(_bars([30.0, 14.4, 29.0, 29.0], [5e5, 8e6, 7.9e6, 5e5]))
    assert _events(result) == [("reversal", "listed")]
    np.testing.assert_allclose(_level(result), [30.0, 14.4, 29.0, 29.0])


@pytest.mark.parametrize("early", [True, False])
def test_a_flag_some_days_too_early_or_too_late(early: bool) -> None:
    price = [30.0, 30.0 * (1 if early else 71.0), 30.0 * 72.0, 30.0 * 71.5]
    flags = [1.0, 1 / 71, 1.0, 1.0] if early else [1.0, 1.0, 1 / 71, 1.0]
    result = _found(_bars(price, [5e5, 5e5 / (1 if early else 71.0), 7e3, 7e3], split_ratio=flags))
    np.testing.assert_allclose(_level(result)[[0, 2, 3]], [30.0, 30.0 * 72 / 71, 30.0 * 71.5 / 71])
    assert _events(result)[-1] == ("reversal", "repaired" if early else "listed")


def test_adjusted_prices_are_listed_only() -> None:
    result = _found(_bars([30.0, 29.5, 1.4, 29.0], [5e5] * 4, adjustment="total_return"))
    assert _events(result) == [("unexplained_move", "listed"), ("reversal", "listed")]
    assert result.series["unexplained"].to_list() == [False, False, True, True]


def test_what_another_provider_confirms_stays() -> None:
    raw = _bars([30.0, 15.0, 30.3, 30.3], [5e5, 1e6, 5e5, 5e5])
    other = _bars([3.0, 3.01, 3.03, 3.03], [5e5] * 4, adjustment="total_return", provider="other", precedence=1)
    result = _found(raw, other)
    assert _events(result) == [("split_unflagged", "repaired")] * 2
    np.testing.assert_allclose(_level(result)[-1], 30.3)


def test_a_way_back_that_another_provider_shows_as_a_split_is_none_where_it_denied_the_way_there() -> None:
    raw = _bars([30.0, 19.1, 20.2, 30.2, 30.3], [5e5, 1e6, 7e5, 5e5, 5e5])  # another symbol's for two days
    other = _bars([3.0, 3.01, 3.03, 3.02, 3.03], [5e5] * 5, adjustment="total_return", provider="other", precedence=1)
    result = _found(raw, other)
    assert _events(result) == [("reversal", "listed")]
    np.testing.assert_allclose(_level(result)[[0, 3, 4]], [30.0, 30.2, 30.3])


def test_real_moves_there_and_back_are_neither_listed_nor_changed() -> None:
    result = _found(_bars([30.0, 22.0, 30.3, 22.0, 29.9], [5e5, 5e6, 4e6, 4e6, 4e6]))
    assert _events(result) == []
    larger = _found(_bars([30.0, 17.0, 30.3, 30.0], [5e5, 5e5, 5e5, 5e5]))
    assert _events(larger) == [("reversal", "listed")]
    np.testing.assert_allclose(_level(larger), [30.0, 17.0, 30.3, 30.0])


def test_a_split_stays_a_split_where_nothing_comes_back() -> None:
    result = _found(_bars([30.0, 15.0, 15.2, 22.0, 22.1], [5e5, 1e6, 1e6, 9e6, 1e6]))
    assert _events(result) == [("split_unflagged", "repaired")]
    np.testing.assert_allclose(_level(result), [30.0, 30.0, 30.4, 44.0, 44.2])


def test_what_lies_too_long_ago_is_no_reversal() -> None:
    for days, kinds in ((9, 2), (12, 1)):
        closes = [30.0, *[1.5] * days, 27.0]
        result = _found(_bars(closes, [5e5, *[1e7] * days, 5e5]))
        assert len(_events(result)) == kinds + (kinds == 1)  # the rise of 18 is then unexplained


FACTORS = [0.01, 0.02, 0.05, 0.07, 0.1, 0.137, 0.25, 0.33, 0.5, 0.51, 1.4, 2.0, 2.05, 3.0, 7.3, 10.0, 19.5, 20.0, 71.0]


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    factors=st.lists(st.sampled_from([*FACTORS, 100.0]), min_size=1, max_size=4),
    like_a_split=st.booleans(),
    noise=st.sampled_from([1.0, 0.4, 3.5, 9.0]),
    split=st.sampled_from([None, 2.0, 0.1, 4.0]),
    flagged=st.booleans(),
    adjustment=st.sampled_from(["as_traded", "total_return"]),
)
def test_the_level_after_an_error_is_the_level_before_it(
    seed: int,
    factors: list[float],
    like_a_split: bool,
    noise: float,
    split: float | None,
    flagged: bool,
    adjustment: str,
) -> None:
    """Random walks with an error of some days, each by its own factor, and a true split a month later."""
    rng = np.random.default_rng(seed)
    n, first = 60, 15
    truth = 50.0 * np.exp(np.cumsum(np.clip(rng.normal(0.0, 0.01, n), -0.02, 0.02)))
    wrong = np.ones(n)
    wrong[first : first + len(factors)] = factors
    traded = np.where(wrong != 1.0, noise, 1.0) * np.exp(rng.normal(0.0, 0.2, n))
    shares, flags = np.ones(n), np.ones(n)
    if split is not None and adjustment == "as_traded":
        shares[45:] = split
        flags[45] = split if flagged else 1.0
    closes = truth * wrong / shares
    volumes = 1e6 * traded * shares / (wrong if like_a_split else 1.0)
    result = _found(_bars(closes.tolist(), volumes.tolist(), split_ratio=flags.tolist(), adjustment=adjustment))
    level = dict(zip(result.series["date"].to_list(), _level(result), strict=True))
    before, after, last = (level[DAYS[t].item()] for t in (first - 1, first + len(factors), n - 1))
    assert after / before == pytest.approx(truth[first + len(factors)] / truth[first - 1], rel=1e-9)
    assert last / before == pytest.approx(truth[-1] / truth[first - 1], rel=1e-9)
