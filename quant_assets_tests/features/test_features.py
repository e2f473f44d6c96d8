from datetime import date

import polars as pl
import pytest

from quant_assets.errors import HistoryError
from quant_assets.features import bars, fundamental, technical
from quant_assets.features.features import features
from quant_assets.features.library import FeatureLibrary, ready_made
from quant_assets.features.ohlcv import peaks
from quant_assets.partitions import month_end, month_range, month_start, shift_month
from quant_assets.settings.domain import FundamentalSettings

SETTINGS = FundamentalSettings()
LIBRARY = FeatureLibrary({"core": ready_made("core")})
MONTHS = month_range("2020-05", "2020-10")


@pytest.fixture(scope="module")
def compute(load):
    def run(market, price_peaks, statements, first: str, last: str, shuffle: bool = False) -> pl.DataFrame:
        prices, universe, days = load(market, first, last, LIBRARY.price_lookback(SETTINGS), LIBRARY.universe_lookback)
        carried = price_peaks.filter(
            pl.col("as_of").is_between(month_start(shift_month(first, -1)), month_end(shift_month(last, -1)))
        )
        oldest = month_start(shift_month(first, -SETTINGS.lookback_months))
        known = statements.filter(pl.col("panel_from").is_between(oldest, month_end(last)))
        if shuffle:
            prices, carried, known, universe = (
                frame.sample(fraction=1.0, shuffle=True, seed=1) for frame in (prices, carried, known, universe)
            )
        return features(prices, carried, known, universe, LIBRARY, SETTINGS, days, month_start(first), month_end(last))

    return run


@pytest.fixture(scope="module")
def whole(compute, market, price_peaks, statements) -> pl.DataFrame:
    return compute(market, price_peaks, statements, MONTHS[0], MONTHS[-1])


def test_schema_and_rows(whole, market, nothing_infinite) -> None:
    assert whole.schema == LIBRARY.dataset.schema
    assert tuple(whole.columns[2:]) == LIBRARY.names
    expected = market.universe.join(market.prices, on=["ticker", "date"], how="semi")
    expected = expected.filter(pl.col("date").is_between(month_start(MONTHS[0]), month_end(MONTHS[-1])))
    assert whole.select("ticker", "date").equals(expected.select("ticker", "date").sort("ticker", "date"))
    nothing_infinite(whole)
    for name, column in LIBRARY.dataset.columns.items():
        values = whole[name].drop_nulls()
        assert values.len() > 100, name
        assert column.ge is None or values.min() >= column.ge, name
        assert column.gt is None or values.min() > column.gt, name
        assert column.le is None or values.max() <= column.le, name


def test_range_equals_months(whole, compute, market, price_peaks, statements, identical) -> None:
    months = [compute(market, price_peaks, statements, month, month) for month in MONTHS]
    identical(pl.concat(months).sort("ticker", "date"), whole)


def test_order_of_the_input_and_other_tickers_do_not_matter(
    whole, compute, market, price_peaks, statements, identical, only
) -> None:
    identical(compute(market, price_peaks, statements, MONTHS[0], MONTHS[-1], shuffle=True), whole)
    kept = ["GONE", "LIST", "MOVE", "T01"]
    few = compute(only(market, kept), price_peaks, statements, MONTHS[0], MONTHS[-1])
    relative = [name for name in LIBRARY.windows.reach("sector_return") if name in LIBRARY.names]
    same = whole.filter(pl.col("ticker").is_in(kept))
    identical(few.drop(relative), same.drop(relative))
    assert "beta_120" in relative
    assert [name for name in relative if few[name].equals(same[name])] == []


def test_betas_take_no_notice_of_names_before_they_are_members(
    whole, compute, market, price_peaks, statements, identical
) -> None:
    """T01 has bars in the sector throughout, but joins the index on a day of the range."""
    day = date(2020, 8, 12)
    joins = market._replace(universe=market.universe.filter((pl.col("ticker") != "T01") | (pl.col("date") >= day)))
    result = compute(joins, price_peaks, statements, MONTHS[0], MONTHS[-1])
    others = result.filter(pl.col("ticker") != "T01")
    never = joins._replace(prices=market.prices.filter((pl.col("ticker") != "T01") | (pl.col("date") >= day)))
    without = compute(never, price_peaks, statements, MONTHS[0], MONTHS[-1]).filter(pl.col("ticker") != "T01")
    identical(others, without)
    assert not others["beta_120"].equals(whole.filter(pl.col("ticker") != "T01")["beta_120"])
    identical(
        pl.concat([compute(joins, price_peaks, statements, month, month) for month in MONTHS]).sort("ticker", "date"),
        result,
    )


def test_nothing_from_the_future(whole, compute, market, price_peaks, statements, identical, cut) -> None:
    day = date(2020, 8, 12)
    early = compute(
        cut(market, day),
        price_peaks.filter(pl.col("as_of") <= day),
        statements.filter(pl.col("panel_from") <= day),
        MONTHS[0],
        "2020-08",
    )
    identical(early, whole.filter(pl.col("date") <= day))


def test_lookback_covers_every_part(market, price_peaks, statements) -> None:
    lookback = LIBRARY.price_lookback(SETTINGS)
    assert lookback == fundamental.price_sessions(SETTINGS)
    assert lookback > LIBRARY.windows.total_lookback() > 252
    assert FeatureLibrary({"bars": bars.FEATURES, "technical": technical.FEATURES}).price_lookback(SETTINGS) < lookback
    days = market.days[-399 - 22 :]
    with pytest.raises(
        HistoryError, match=f"features: 399 sessions before 2021-06 are in the panel, {lookback} are needed"
    ):
        features(
            market.prices,
            price_peaks,
            statements,
            market.universe,
            LIBRARY,
            SETTINGS,
            days,
            date(2021, 6, 1),
            date(2021, 6, 30),
        )


def test_an_empty_sector_gives_no_rows(market, price_peaks, statements) -> None:
    empty = features(
        market.prices.clear(),
        price_peaks.clear(),
        statements.clear(),
        market.universe.clear(),
        LIBRARY,
        SETTINGS,
        market.days,
        date(2020, 6, 1),
        date(2020, 6, 30),
    )
    assert empty.is_empty()
    assert empty.schema == LIBRARY.dataset.schema


def test_a_symbols_next_company_owes_nothing_to_the_one_before(
    compute, market, statements, month_ends, identical
) -> None:
    """Its features are those of a ticker that begins on that session, bit for bit; the first company's are as if the
    other never came."""
    handed_on, begins = date(2020, 7, 9), date(2020, 7, 22)
    day = pl.col("date")
    own = pl.col("ticker") == "T01"
    late = own & (day >= begins)
    prices = market.prices.filter(~own | (day <= handed_on) | (day >= begins))
    prices = prices.with_columns(pl.when(late).then(pl.lit(begins)).otherwise("listed").alias("listed"))
    both = market._replace(prices=prices)
    before, after = both._replace(prices=prices.filter(~late)), both._replace(prices=prices.filter(~own | late))
    with_own = [
        compute(data, peaks(data.prices, data.days, month_ends(data.days)), statements, MONTHS[0], MONTHS[-1])
        .filter(pl.col("ticker") == "T01")
        .drop("beta_120")  # the sector's return has both companies in it
        for data in (both, before, after)
    ]
    whole, first, second = with_own
    identical(whole, pl.concat([first, second]))
    assert second["date"].min() == begins
    assert second["return_1"][0] is None
    assert (second["close_to_peak"][0], first["close_to_peak"].is_null().any()) == (1.0, False)
    months = [
        compute(both, peaks(both.prices, both.days, month_ends(both.days)), statements, month, month)
        for month in MONTHS
    ]
    identical(pl.concat(months).filter(pl.col("ticker") == "T01").drop("beta_120").sort("date"), whole)


def test_an_unexplained_step_stays_with_its_name_and_is_unknown_there(
    compute, market, price_peaks, statements, identical
) -> None:
    day, level = date(2020, 8, 12), pl.col("open", "high", "low", "close")
    risen = (pl.col("ticker") == "T01") & (pl.col("date") >= day)
    prices = market.prices.with_columns(
        pl.when(risen).then(level * 75.0).otherwise(level), unexplained=risen & (pl.col("date") == day)
    )
    plain = compute(market, price_peaks, statements, "2020-08", "2020-09")
    result = compute(market._replace(prices=prices), price_peaks, statements, "2020-08", "2020-09")
    of_sector = [name for name, column in LIBRARY.dataset.columns.items() if column.across]
    others = pl.col("ticker") != "T01"
    identical(result.filter(others).drop(of_sector), plain.filter(others).drop(of_sector))
    for name in of_sector:  # one name is missing from one day's mean
        assert (result[name] - plain[name]).filter(plain["ticker"] != "T01").abs().max() < 0.2, name
    after = (pl.col("ticker") == "T01") & (pl.col("date") >= day)
    for name in LIBRARY.windows.names:
        values = result.filter(after)[name]
        reach = LIBRARY.windows.straddle(name)
        assert values.head(reach + 1).null_count() == min(reach + 1, len(values)), name
        assert values.head(reach + 2).null_count() <= reach + 1, name
    before = (pl.col("ticker") == "T01") & (pl.col("date") < day)
    identical(result.filter(before).drop(of_sector), plain.filter(before).drop(of_sector))
    months = [
        compute(market._replace(prices=prices), price_peaks, statements, month, month)
        for month in ("2020-08", "2020-09")
    ]
    identical(pl.concat(months).sort("ticker", "date"), result)
