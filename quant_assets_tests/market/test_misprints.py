"""Closes that earlier bars show to be misprints, and the closes accepted instead."""

from datetime import date
from typing import Any

import polars as pl
import pytest

from quant_assets.market import calendar
from quant_assets.market.bars import CompanyBars, company_bars
from quant_assets.settings.domain import BarSettings
from quant_assets.sources.base import DELISTINGS
from quant_assets_tests.synthetic_bars import make_bars

DAYS = calendar.sessions(date(2023, 6, 1), date(2023, 12, 29))
NONE = DELISTINGS.to_frame()


def _bars(closes: list[float], volumes: list[float] | None = None, **columns: Any) -> pl.DataFrame:
    volume = pl.Series(volumes or [1e6] * len(closes))
    return make_bars(DAYS[: len(closes)], closes, **({"volume": volume} | columns))


def _other(closes: list[float], **columns: Any) -> pl.DataFrame:
    return _bars(closes, **({"adjustment": "total_return", "provider": "other", "precedence": 1} | columns))


def _found(*bars: pl.DataFrame) -> CompanyBars:
    raw = pl.concat(bars).sort("ticker", "date", "precedence", maintain_order=True)
    return company_bars(raw, NONE, DAYS, BarSettings())


def _refused(bars: CompanyBars) -> list[tuple[int, str, str]]:
    number = {day.item(): place for place, day in enumerate(DAYS)}
    rows = bars.refused.sort("date", "precedence").select("date", "provider", "reason").rows()
    return [(number[day], provider, reason) for day, provider, reason in rows]


@pytest.mark.parametrize("factor", [100.0, 0.01, 10.0, 0.1, 1000.0])
@pytest.mark.parametrize("adjustment", ["as_traded", "total_return"])
def test_a_decimal_point_out_of_place_is_refused_on_its_day(factor: float, adjustment: str) -> None:
    closes = [97.4, 90.1, 89.7 * factor, 89.6, 89.4]
    bars = _bars(closes, [4e6, 1.9e6, 1.5e6, 2.1e6, 1.8e6], adjustment=adjustment)
    result = _found(bars)
    assert _refused(result) == [(2, "raw", "decimal_point")]
    assert result.refused["close"].to_list() == [89.7 * factor]
    assert result.events.is_empty()
    assert not result.series["unexplained"].any()
    for count in range(1, 6):  # known at its own close
        early = _found(bars[:count])
        assert early.series.equals(result.series.filter(pl.col("date") <= DAYS[count - 1].item()))
        assert _refused(early) == _refused(result)[: int(count > 2)]


def test_a_dividend_of_the_day_is_paid_at_the_next_bar() -> None:
    paid = [0.0, 0.0, 0.24, 0.0, 0.0]
    result = _found(_bars([24.4, 24.5, 0.246, 24.4, 24.5], dividend=pl.Series(paid)))
    assert _refused(result) == [(2, "raw", "decimal_point")]
    level = result.series.select(pl.col("close") * pl.col("price_factor")).to_series()
    assert level[-1] / level[1] == pytest.approx((24.4 + 0.24) / 24.5 * 24.5 / 24.4)


def test_the_way_back_is_known_by_the_price_too() -> None:
    # On the wrong day the volume was another one, and the dividend a half of the wrong price.
    paid = [0.0, 0.0, 0.12, 0.0, 0.0]
    result = _found(_bars([24.4, 24.5, 0.246, 24.4, 24.5], [1e6, 1e6, 3.5e6, 1.2e6, 1e6], dividend=pl.Series(paid)))
    assert _refused(result) == []
    assert result.series["unexplained"].to_list() == [False, False, True, True, False]


def test_an_unflagged_split_by_a_power_of_ten_has_another_volume() -> None:
    result = _found(_bars([50.0, 5.0, 5.05], [1e6, 1e7, 1e7]))
    assert _refused(result) == []
    assert result.events["kind"].to_list() == ["split_unflagged"]


def test_a_real_fall_of_nine_tenths_has_another_volume_too() -> None:
    result = _found(_bars([3.65, 0.21, 0.30], [9e6, 8e7, 8e7]))
    assert _refused(result) == []
    assert result.events["kind"].to_list() == ["unexplained_move"]


def test_a_flagged_one_is_no_misprint() -> None:
    result = _found(_bars([5.0, 50.0, 50.5], split_ratio=[1.0, 0.1, 1.0]))
    assert _refused(result) == []
    assert result.events.is_empty()


def test_what_another_provider_upholds_is_no_misprint() -> None:
    result = _found(_bars([5.0, 50.0, 50.5]), _other([1.0, 10.0, 10.1]))
    assert _refused(result) == []
    assert not result.series["unexplained"].any()


def test_other_units_are_believed_in_the_end_and_marked() -> None:
    closes = [5.0, 5.01, *[505.0 + day for day in range(20)]]
    result = _found(_bars(closes))
    days = [day for day, _, reason in _refused(result) if reason == "decimal_point"]
    assert days == list(range(2, 12))  # fourteen calendar days
    assert result.series.filter("unexplained")["date"].to_list() == [DAYS[12].item()]
    assert len(result.series) == len(closes) - len(days)


def test_the_way_back_from_what_was_believed_is_no_misprint() -> None:
    # The volume of the wrong day was another one, so that it was believed.
    result = _found(_bars([50.0, 50.5, 5000.0, 50.0, 51.0], [1e6, 1e6, 3.5e6, 1.2e6, 1e6]))
    assert _refused(result) == []
    assert result.series["unexplained"].to_list() == [False, False, True, True, False]
    assert result.events.select("kind", "action").rows() == [("unexplained_move", "listed"), ("reversal", "listed")]


def test_prices_of_another_symbol_are_refused_where_a_provider_has_the_right_ones() -> None:
    right = [50.0, 50.5, 51.0, 50.8, 50.9, 51.2]
    swapped = [50.0, 50.5, 371.0, 368.0, 50.9, 51.2]
    result = _found(_bars(swapped, [1e6, 1e6, 4e4, 5e4, 1e6, 1e6]), _other([close / 7.0 for close in right]))
    assert [(day, reason) for day, provider, reason in _refused(result) if provider == "raw"] == [
        (2, "denied_move"),
        (3, "denied_move"),
    ]
    assert not result.series["unexplained"].any()


def test_a_close_that_only_stands_still_denies_nothing() -> None:
    result = _found(_bars([50.0, 50.5, 371.0], [1e6, 1e6, 4e4]), _other([7.0, 7.1, 7.1]))
    assert _refused(result) == [(2, "other", "disputed_stale_close")]
    assert result.series["unexplained"].to_list() == [False, False, True]


def test_one_alone_is_marked() -> None:
    result = _found(_bars([50.0, 50.5, 371.0, 50.9], [1e6, 1e6, 4e4, 1e6]))
    assert _refused(result) == []
    assert result.events.select("kind", "action").rows() == [("unexplained_move", "listed"), ("reversal", "listed")]


def test_another_company_of_the_symbol_begins_anew() -> None:
    delistings = pl.DataFrame([{"ticker": "A", "last_session": DAYS[1].item()}], schema=NONE.schema)
    result = company_bars(_bars([50.0, 50.5, 5.0, 5.1]), delistings, DAYS, BarSettings())
    assert result.refused.is_empty()
    assert result.events.is_empty()


def test_a_wrong_price_on_the_day_of_a_real_fall_is_denied() -> None:
    result = _found(
        _bars([116.0, 116.5, 9.7, 75.7, 75.6], [1e6, 1e6, 1.2e7, 3e6, 1e6]), _other([11.6, 11.65, 7.53, 7.57, 7.56])
    )
    assert [(day, reason) for day, provider, reason in _refused(result) if provider == "raw"] == [(2, "denied_move")]
    assert result.series.select(pl.col("close") * pl.col("price_factor")).to_series()[-1] == pytest.approx(75.6)


def test_what_another_provider_shows_to_be_a_split_is_repaired_on_its_day() -> None:
    other = _other([11.6, 11.65, 11.7, 11.7, 11.8])
    result = _found(_bars([1.16, 1.165, 87.75, 87.75, 88.5], [7.5e7, 7.5e7, 1e6, 1e6, 1e6]), other)
    assert _refused(result) == []
    assert result.events.select("kind", "action", "split_used").rows() == [
        ("split_unflagged", "repaired", pytest.approx(1 / 75))
    ]
