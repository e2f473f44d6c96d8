from datetime import date

import numpy as np
import polars as pl
import pytest

from quant_assets.errors import HistoryError
from quant_assets.features.ohlcv import FEATURES, peaks, quantities, to_peak
from quant_assets.market.panel import Panel
from quant_assets.partitions import month_end, month_range, month_start, shift_month
from quant_assets.schemas import DATASETS, OHLCV_FIELDS, OHLCV_QUANTITIES
from quant_assets.windows.columns import member_mask, member_rows

MONTHS = month_range("2020-05", "2020-10")

LOOKBACK = max(feature.lookback for feature in FEATURES)


def ratios(prices, price_peaks, universe, days, first: str, last: str) -> pl.DataFrame:
    panel = Panel.from_long(prices, days, OHLCV_FIELDS)
    members = member_mask(panel, universe, month_start(first), month_end(last))
    carried = price_peaks.filter(
        pl.col("as_of").is_between(month_start(shift_month(first, -1)), month_end(shift_month(last, -1)))
    )
    values = to_peak(panel, prices, carried, members, month_start(first), month_end(last))
    return member_rows(panel, values, universe, month_start(first), month_end(last))


@pytest.fixture(scope="module")
def compute(load):
    def run(market, price_peaks, first: str, last: str) -> pl.DataFrame:
        prices, universe, days = load(market, first, last, LOOKBACK)
        return ratios(prices, price_peaks, universe, days, first, last)

    return run


@pytest.fixture(scope="module")
def whole(compute, market, price_peaks) -> pl.DataFrame:
    return compute(market, price_peaks, MONTHS[0], MONTHS[-1])


def plain(market, ticker: str, name: str, day: date) -> tuple[float, float]:
    """Readable reference: the quantity at a session and its maximum over the ticker's whole history up to then."""
    field, _, window = name.partition("_mean_")
    bars = market.prices.filter(pl.col("ticker") == ticker, pl.col("date") <= day)
    dense = np.full(len(market.days), np.nan)
    dense[np.searchsorted(market.days, bars["date"].to_numpy())] = bars[field].to_numpy()
    sessions = int(window or 1)
    means = []
    for j in np.flatnonzero(~np.isnan(dense)):
        sample = dense[max(0, j - sessions + 1) : j + 1]
        sample = sample[~np.isnan(sample)]
        means.append(sample.mean() if len(sample) >= 0.8 * sessions else np.nan)
    return means[-1], float(np.nanmax(means))


def test_the_25_quantities_in_the_schemas_order(market) -> None:
    panel = Panel.from_long(market.prices, market.days, OHLCV_FIELDS)
    assert tuple(name for name, _ in quantities(panel)) == OHLCV_QUANTITIES
    assert len(OHLCV_QUANTITIES) == 25


@pytest.mark.parametrize("ticker", ["T00", "MOVE", "LIST", "GONE", "HALT"])
@pytest.mark.parametrize("name", ["close", "high_mean_5", "volume_mean_30", "open_mean_10"])
def test_agrees_with_the_whole_history(ticker: str, name: str, whole, market) -> None:
    rows = whole.filter(pl.col("ticker") == ticker)
    for row in (rows[0], rows[rows.height // 2], rows[-1]):
        value, peak = plain(market, ticker, name, row["date"].item())
        result = row[f"{name}_to_peak"].item()
        assert result is None if np.isnan(value) else result == pytest.approx(value / peak, rel=1e-12)


def test_never_above_one_and_one_at_a_new_high(whole) -> None:
    for name in OHLCV_QUANTITIES:
        column = whole[f"{name}_to_peak"].drop_nulls()
        assert 0.0 <= column.min() < column.max() == 1.0
    assert (whole.filter(pl.col("ticker") == "FLAT")["close_to_peak"] == 1.0).all()


def test_range_equals_months(whole, compute, market, price_peaks, identical) -> None:
    identical(pl.concat([compute(market, price_peaks, month, month) for month in MONTHS]).sort("ticker", "date"), whole)


def test_bars_before_the_panel_count_for_a_ticker_that_moved_in(compute, market, price_peaks, identical) -> None:
    # A peak years before the panel's first session: only the frame has it.
    old = (pl.col("ticker") == "MOVE") & (pl.col("date") == date(2017, 3, 1))
    raised = market._replace(
        prices=market.prices.with_columns(pl.when(old).then(pl.col("high") * 1000.0).otherwise("high").alias("high"))
    )
    changed, unchanged = (compute(data, price_peaks, "2020-06", "2020-06") for data in (raised, market))
    moved = pl.col("ticker") == "MOVE"
    assert changed.filter(moved)["high_to_peak"].max() < 0.01 < unchanged.filter(moved)["high_to_peak"].min()
    assert changed.filter(moved)["high_mean_30_to_peak"].max() < 0.2
    identical(changed.filter(~moved), unchanged.filter(~moved))


def test_an_incomplete_window_at_the_start_of_the_panel_is_no_peak(market, price_peaks, compute) -> None:
    # The panel of June starts in April: a spike then must count only through the carried maxima, which do not have it.
    spike = (pl.col("ticker") == "T01") & (pl.col("date").is_between(date(2020, 4, 1), date(2020, 4, 30)))
    prices = market.prices.with_columns(pl.when(spike).then(pl.col("volume") * 1e6).otherwise("volume").alias("volume"))
    result = compute(market._replace(prices=prices), price_peaks, "2020-06", "2020-06").filter(
        pl.col("ticker") == "T01"
    )
    assert (
        result["volume_to_peak"].to_list()
        == compute(market, price_peaks, "2020-06", "2020-06")
        .filter(pl.col("ticker") == "T01")["volume_to_peak"]
        .to_list()
    )


def test_a_missing_carried_maximum_is_an_error(market, price_peaks, compute) -> None:
    with pytest.raises(HistoryError, match="FLAT has bars before 2020-06 but no price_peaks"):
        compute(market, price_peaks.filter(pl.col("as_of") != date(2020, 5, 29)), "2020-06", "2020-06")


def test_a_carried_maximum_of_the_middle_of_the_month_before_is_completed(
    market, price_peaks, compute, identical
) -> None:
    # In the running month the carried as_of is the latest session; the next month may still read that partition.
    stale = peaks(
        market.prices.filter(pl.col("date") <= date(2020, 5, 12)),
        market.days[market.days <= np.datetime64("2020-05-12")],
        [date(2020, 5, 12)],
    )
    identical(compute(market, stale, "2020-06", "2020-06"), compute(market, price_peaks, "2020-06", "2020-06"))


def test_peaks_of_one_month_equal_those_of_many(market, price_peaks, month_ends, identical) -> None:
    assert price_peaks.schema == DATASETS["price_peaks"].schema
    assert not price_peaks.select("ticker", "as_of").is_duplicated().any()
    for day in month_ends(market.days)[::9]:
        sessions = market.days[market.days <= np.datetime64(day)]
        known = market.prices.filter(pl.col("panel_from") <= day).sample(fraction=1.0, shuffle=True, seed=1)
        identical(peaks(known, sessions, [day]), price_peaks.filter(pl.col("as_of") == day))


def test_peaks_begin_when_a_ticker_enters(price_peaks, market) -> None:
    first = dict(price_peaks.group_by("ticker").agg(pl.col("as_of").min()).rows())
    assert (first["MOVE"], first["LIST"], first["T00"]) == (date(2020, 6, 30), date(2019, 10, 31), date(2017, 1, 31))
    entered = price_peaks.row(
        by_predicate=(pl.col("ticker") == "MOVE") & (pl.col("as_of") == date(2020, 6, 30)), named=True
    )
    assert (
        entered["high"]
        == market.prices.filter(pl.col("ticker") == "MOVE", pl.col("date") <= date(2020, 6, 30))["high"].max()
    )
    # The gone keep theirs.
    assert price_peaks.filter(pl.col("ticker") == "GONE")["as_of"].max() == date(2021, 6, 30)
    # The first month has 20 sessions: no 30-session mean yet.
    january = price_peaks.filter(pl.col("as_of") == date(2017, 1, 31))
    assert january["close_mean_30"].null_count() == january.height
    assert january["close_mean_20"].null_count() < january.height


def test_peaks_want_the_whole_history(market) -> None:
    with pytest.raises(HistoryError, match="bars before the first session"):
        peaks(market.prices, market.days[10:], [market.days[-1].item()])
    with pytest.raises(HistoryError, match="2020-05-30 is not among the sessions"):
        peaks(market.prices, market.days, [date(2020, 5, 30)])


def test_the_first_month_needs_no_carried_maximum(market, price_peaks, compute) -> None:
    first = compute(market, price_peaks.clear(), "2017-01", "2017-01")
    assert first.filter(pl.col("date") == date(2017, 1, 3))["close_to_peak"].to_list()[0] == 1.0
    assert compute(
        market.__class__(market.days, market.prices.clear(), market.universe, market.delistings),
        price_peaks,
        "2020-06",
        "2020-06",
    ).is_empty()
