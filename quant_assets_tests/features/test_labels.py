from datetime import date

import numpy as np
import polars as pl
import pytest

from quant_assets.errors import HistoryError
from quant_assets.features.labels import DELISTING_SESSIONS, forward_sessions, labels
from quant_assets.market.calendar import sessions
from quant_assets.partitions import month_end, month_of, month_range, month_start, months_covering, shift_month
from quant_assets.schemas import DATASETS
from quant_assets.settings.domain import LabelSettings

SETTINGS = LabelSettings()
MONTHS = month_range("2020-05", "2020-10")
DAYS = sessions(date(2024, 1, 2), date(2024, 12, 31))
FAR = DAYS[-1].item()


def day(place: int) -> date:
    return DAYS[place].item()


def ask(
    closes: dict[int, float],
    at: int = 0,
    *,
    gone: tuple[int, int] | list[tuple[int, int]] | None = None,
    loss: float | None = None,
    rule: str = "failure",
    again: int | None = None,
    listed: list[int] | None = None,
    last_known: date = FAR,
    settings: LabelSettings = SETTINGS,
) -> dict[int, tuple[float, int, date, bool]]:
    """Labels of session `at` by horizon: (return, place of the exit, known_at, delisted).

    At each place `listed` a new company begins; `again` takes the first of the delistings back.
    """
    prices = pl.DataFrame({"ticker": "A", "date": [day(place) for place in closes], "close": list(closes.values())})
    begun = [min(closes), *(place for place in (listed or []))]
    prices = prices.with_columns(
        listed=pl.Series([day(max(start for start in begun if start <= place)) for place in closes])
    )
    events = [gone] if isinstance(gone, tuple) else gone or []
    rows = [("A", day(last), day(known), rule, loss, None) for last, known in events]
    if again is not None and day(again) <= last_known:
        rows.append(("A", day(events[0][0]), day(again), "trades_again", None, None))
    delistings = pl.DataFrame(
        [row for row in rows if row[2] <= last_known],
        schema=DATASETS["delistings"].schema,
        orient="row",
    )
    universe = pl.DataFrame({"ticker": ["A"], "date": [day(at)]})
    result = labels(prices, delistings, universe, settings, DAYS, last_known, day(at), day(at))
    assert result.schema == DATASETS["labels"].schema
    assert (result["entry_date"] == day(at + settings.entry_lag)).all()
    places = {session: place for place, session in enumerate(DAYS.tolist())}
    return {
        row["horizon"]: (row["forward_return"], places[row["exit_date"]], row["known_at"], row["delisted"])
        for row in result.to_dicts()
    }


def steady(*places: int, growth: float = 1.01) -> dict[int, float]:
    return {place: 100.0 * growth**place for place in places}


def test_return_from_entry_to_exit() -> None:
    result = ask(steady(*range(100)))
    assert {horizon: row[1:] for horizon, row in result.items()} == {
        horizon: (1 + horizon, day(1 + horizon), False) for horizon in (1, 5, 20, 60)
    }
    for horizon, row in result.items():
        assert row[0] == pytest.approx(1.01**horizon - 1)


@pytest.mark.parametrize(
    ("factors", "at", "expected"),
    [
        ({10: 75.0}, 0, {1: False, 5: False, 20: True, 60: True}),  # a rise
        ({10: 0.06}, 0, {1: False, 5: False, 20: False, 60: False}),  # a fall counts
        ({10: 75.0}, 9, {1: False, 5: False, 20: False, 60: False}),  # entered at its close
        ({10: 75.0}, 8, {1: True, 5: True, 20: True, 60: True}),  # entered at the close before
        ({10: 75.0, 12: 1 / 75.0}, 9, {1: False, 5: True, 20: True, 60: True}),  # entered between the rise and the fall
        ({20: 75.0, 23: 1 / 75.0}, 19, {1: False, 5: True, 20: True, 60: True}),
        ({20: 75.0, 23: 1 / 75.0}, 21, {1: False, 5: False, 20: False, 60: False}),  # the rise is of the month before
        ({10: 75.0, 30: 1 / 75.0}, 9, {1: False, 5: False, 20: False, 60: False}),  # a level of weeks is a level
    ],
)
def test_a_way_over_an_unexplained_step_is_marked(
    factors: dict[int, float], at: int, expected: dict[int, bool]
) -> None:
    level = {place: np.prod([factor for since, factor in factors.items() if since <= place]) for place in range(100)}
    rows = [("A", day(place), 100.0 * level[place], day(0), place in factors) for place in range(100)]
    prices = pl.DataFrame(rows, schema=["ticker", "date", "close", "listed", "unexplained"], orient="row")
    universe = pl.DataFrame({"ticker": "A", "date": [day(place) for place in range(40)]})
    none = DATASETS["delistings"].empty().drop("sector", "month", strict=False)

    def made(prices: pl.DataFrame, first: date, last: date) -> pl.DataFrame:
        days = DAYS[np.datetime64(first) <= DAYS]
        return labels(prices.filter(pl.col("date") >= first), none, universe, SETTINGS, days, FAR, first, last)

    january, february = (day(0), date(2024, 1, 31)), (date(2024, 2, 1), date(2024, 2, 29))
    whole = made(prices, january[0], february[1])
    result = whole.filter(pl.col("date") == day(at))
    assert dict(result.select("horizon", "unexplained").iter_rows()) == expected
    raw = made(prices.drop("unexplained"), january[0], february[1])
    assert not raw["unexplained"].any()
    assert raw.drop("unexplained").equals(whole.drop("unexplained")), "the returns are as they are"
    assert pl.concat([made(prices, *january), made(prices, *february)]).sort("ticker", "date", "horizon").equals(whole)


def test_entry_lag_is_a_setting() -> None:
    later = LabelSettings(horizons=(5,), entry_lag=3)
    assert ask(steady(*range(20)), 3, settings=later)[5][1:] == (11, day(11), False)
    assert forward_sessions(later) == 8 + DELISTING_SESSIONS
    assert forward_sessions(SETTINGS) == 61 + DELISTING_SESSIONS


def test_no_bar_at_the_session_or_at_the_entry_no_label() -> None:
    assert ask(steady(*range(1, 90))) == {}
    assert ask(steady(0, *range(2, 90))) == {}


def test_an_exit_without_a_bar_takes_the_last_one_unless_it_is_stale() -> None:
    bars = steady(*range(2), 2, 3, 4, *range(10, 90))
    # Horizon 5 exits at 6: bar 4 is two sessions old. It is known at 6, when it is clear that there is no bar.
    assert ask(bars)[5] == (pytest.approx(1.01**3 - 1), 4, day(6), False)
    only = LabelSettings(horizons=(8, 9, 12), entry_lag=1)
    assert set(ask(steady(0, 1, 4, 20), settings=only)) == {
        8
    }  # exits at 9, 10 and 13: five, six and nine sessions after bar 4
    # The entry itself is not an exit.
    assert 1 not in ask(steady(0, 1, 3, *range(6, 90)))


def test_a_delisting_ends_the_label_at_the_last_price() -> None:
    result = ask(steady(*range(11)), gone=(10, 15))
    assert result[5] == (pytest.approx(1.01**5 - 1), 6, day(6), False)
    for horizon in (20, 60):
        assert result[horizon] == (pytest.approx(1.01**9 - 1), 10, day(15), True)


def test_the_delisting_return_counts_from_the_last_price_on() -> None:
    bars = steady(*range(11))
    result = ask(bars, gone=(10, 15), loss=-0.3)
    assert result[5][0] == pytest.approx(1.01**5 - 1)  # over before the last price
    for horizon in (20, 60):
        assert result[horizon][0] == pytest.approx(0.7 * 1.01**9 - 1)
    settings = LabelSettings(horizons=(11, 14))  # exits at 12, before anybody knew, and at 15
    assert [row[0] for row in ask(bars, gone=(10, 14), loss=-1.0, settings=settings).values()] == pytest.approx(
        [1.01**9 - 1, -1.0]
    )


def test_a_label_ends_with_its_company_also_where_the_symbol_trades_again() -> None:
    bars = steady(*range(6), *range(15, 90))
    prices = pl.DataFrame({"ticker": "A", "date": [day(place) for place in bars], "close": list(bars.values())})
    prices = prices.with_columns(
        listed=pl.when(pl.col("date") < day(10)).then(pl.lit(day(0))).otherwise(pl.lit(day(15)))
    )
    delistings = pl.DataFrame(
        [("A", day(5), day(10), "unknown", None, None)], schema=DATASETS["delistings"].schema, orient="row"
    )
    universe = pl.DataFrame({"ticker": ["A"] * 2, "date": [day(3), day(20)]})
    result = labels(prices, delistings, universe, LabelSettings(horizons=(4, 20)), DAYS, FAR, day(0), day(30))
    assert result.select("date", "horizon", "exit_date", "delisted").rows() == [
        (day(3), 4, day(5), False),  # exits at 8, when nobody knew yet
        (day(3), 20, day(5), True),
        (day(20), 4, day(25), False),
        (day(20), 20, day(41), False),
    ]


def test_a_label_that_is_known_does_not_change_when_a_delisting_is_heard_of_later() -> None:
    settings = LabelSettings(horizons=(11, 14, 20))
    bars = steady(*range(11))  # exits at 12, 15 and 21
    assert ask(bars, last_known=day(13), settings=settings) == {11: (pytest.approx(1.01**9 - 1), 10, day(12), False)}
    result = ask(bars, gone=(10, 14), settings=settings)
    assert result[11][1:] == (10, day(12), False)  # known at 12, before anybody knew of the delisting at 14
    assert result[14][1:] == (10, day(14), True)
    assert result[20][1:] == (10, day(14), True)


def test_a_delisting_known_after_the_exit_counts_only_without_a_price_and_for_a_while() -> None:
    settings = LabelSettings(horizons=(11, 16))  # exits at 12 and 17, seven sessions after the last bar
    bars = steady(*range(11))
    assert set(ask(bars, settings=settings)) == {11}
    assert ask(bars, gone=(10, 17 + DELISTING_SESSIONS), settings=settings)[16][1:] == (
        10,
        day(17 + DELISTING_SESSIONS),
        True,
    )
    assert set(ask(bars, gone=(10, 18 + DELISTING_SESSIONS), settings=settings)) == {11}


def test_delisted_at_the_entry_gives_a_label_only_where_the_payout_is_known() -> None:
    assert ask(steady(0, 1), gone=(1, 6)) == {}
    # Bought at its last close, as a backtest may: the payout is known, and so is the label.
    assert ask(steady(0, 1), gone=(1, 6), loss=-0.3) == {
        horizon: (pytest.approx(-0.3), 1, day(6), True) for horizon in (1, 5, 20, 60)
    }
    assert ask(steady(0, 1, 2), gone=(2, 6))[60] == (pytest.approx(0.01), 2, day(6), True)


def test_a_delisting_announced_before_the_last_session_is_known_at_the_last_price() -> None:
    assert ask(steady(*range(11)), gone=(10, 7))[20][1:] == (10, day(10), True)


def test_a_presumed_delisting_is_given_time_to_prove_wrong() -> None:
    bars = steady(*range(11))
    result = ask(bars, gone=(10, 25), loss=-0.3, rule="collapse")
    assert {horizon: row[1:] for horizon, row in result.items()} == {
        1: (2, day(2), False),
        5: (6, day(6), False),
        20: (10, day(21 + DELISTING_SESSIONS), True),  # it became known at 25, and stands at 31
        60: (10, day(61 + DELISTING_SESSIONS), True),
    }
    assert result[60][0] == pytest.approx(0.7 * 1.01**9 - 1)


def test_a_ticker_that_trades_again_has_no_delisting_return() -> None:
    """Silent from 11 to 39, taken for delisted at 25. Labels see ten sessions beyond their exits."""
    bars, horizons = steady(*range(11), *range(40, 100)), (10, 14, 20, 28, 29, 37, 39, 60)
    every = LabelSettings(horizons=horizons)

    def labels_known(last_known: date = FAR) -> dict[int, tuple[float, int, date, bool]]:
        bars_known = {place: close for place, close in bars.items() if day(place) <= last_known}
        return ask(
            bars_known, gone=(10, 25), again=40, loss=-0.3, rule="collapse", settings=every, last_known=last_known
        )

    whole = labels_known()
    assert {horizon: row[1:] for horizon, row in whole.items()} == {
        10: (10, day(11), False),  # an exit one session after the last bar
        14: (10, day(15), False),
        20: (10, day(31), True),  # nine sessions before it trades again, nobody knew
        28: (10, day(39), True),
        # Exits at 30 and 38 look as far as 40: no price, as in a halt. From 40 on the company goes on.
        39: (40, day(40), False),
        60: (61, day(61), False),
    }
    assert whole[60][0] == pytest.approx(1.01**60 - 1)
    for last in range(8, 75):
        assert labels_known(day(last)) == {h: row for h, row in whole.items() if row[2] <= day(last)}, last


def test_a_delisting_presumed_while_a_close_still_stands_in_waits_too() -> None:
    """Exit at 15, five sessions after the last bar, when it is taken for delisted; it trades again at 20 or at 40."""
    only = LabelSettings(horizons=(14,))
    bars = steady(*range(11))
    for again, expected in ((20, (10, day(20), False)), (40, (10, day(25), True))):
        every = bars | steady(*range(again, 60))
        whole = ask(every, gone=(10, 15), again=again, rule="unknown", settings=only)
        assert whole[14][1:] == expected
        for last in range(12, 45):
            kept = {place: close for place, close in every.items() if place <= last}
            result = ask(kept, gone=(10, 15), again=again, rule="unknown", settings=only, last_known=day(last))
            assert result == ({} if day(last) < expected[1] else whole)


def test_after_a_wrong_delisting_the_next_one_counts() -> None:
    bars = steady(*range(11), *range(30, 41))
    result = ask(bars, gone=[(10, 25), (40, 55)], again=30, rule="unknown")
    assert result[60][1:] == (40, day(61 + DELISTING_SESSIONS), True)
    assert result[60][0] == pytest.approx(1.01**39 - 1)


def test_the_first_delisting_after_the_entry_counts() -> None:
    bars = steady(*range(6), *range(15, 31))
    twice = [(5, 10), (30, 35)]
    assert ask(bars, 0, gone=twice, listed=[15])[20][1:] == (5, day(10), True)
    assert ask(bars, 15, gone=twice, listed=[15])[20][1:] == (30, day(35), True)
    assert (
        ask(bars, 4, gone=twice, listed=[15]) == {}
    )  # entered at the last bar before the gap: what follows is another company's
    assert ask(bars, 15, gone=twice[:1], listed=[15])[5][1:] == (21, day(21), False)


def renamed(*, known: int = 10, taken: int | None = None) -> tuple[pl.DataFrame, pl.DataFrame]:
    """A company that trades as OLD before place `known` and as NEW, at three times the level, up to place 40; its
    delistings."""
    path = steady(*range(41))
    rows = [("OLD", day(place), close, day(0)) for place, close in path.items() if place < known]
    rows += [("NEW", day(place), 3.0 * close, day(0)) for place, close in path.items()]
    if taken is not None:
        rows += [("OLD", day(place), 7.0, day(taken)) for place in range(taken, 90)]
    prices = pl.DataFrame(rows, schema=["ticker", "date", "close", "listed"], orient="row")
    ends = [
        ("OLD", day(known - 1), day(known), "renamed", 0.0, "NEW"),
        ("NEW", day(40), day(45), "failure", -0.3, None),
    ]
    return prices, pl.DataFrame(ends, schema=DATASETS["delistings"].schema, orient="row")


@pytest.mark.parametrize("taken", [None, 20])
@pytest.mark.parametrize("at", [5, 9])
def test_a_label_goes_on_under_the_new_symbol(at: int, taken: int | None) -> None:
    """Also where it is entered on the day of the rename, and whoever has the old symbol afterwards."""
    prices, delistings = renamed(taken=taken)
    universe = pl.DataFrame({"ticker": ["OLD"], "date": [day(at)]})
    result = labels(prices, delistings, universe, SETTINGS, DAYS, FAR, day(0), day(30)).filter(pl.col("horizon") < 60)
    assert result.select("horizon", "exit_date", "known_at", "delisted").rows() == [
        (horizon, day(at + 1 + horizon), day(at + 1 + horizon), False) for horizon in (1, 5, 20)
    ]
    assert result["forward_return"].to_list() == pytest.approx([1.01**horizon - 1.0 for horizon in (1, 5, 20)])
    far = labels(prices, delistings, universe, SETTINGS, DAYS, FAR, day(0), day(30)).filter(pl.col("horizon") == 60)
    if taken is None:
        assert far["forward_return"].to_list() == pytest.approx([0.7 * 1.01 ** (39 - at) - 1.0])
    absent = labels(
        prices.filter(pl.col("ticker") == "OLD"), delistings, universe, SETTINGS, DAYS, FAR, day(0), day(30)
    )
    assert absent["exit_date"].to_list() == [day(7)] * (at == 5), (
        "a sector without the new symbol has no label beyond the rename"
    )


def test_a_symbol_that_was_given_up_has_no_labels_whoever_still_lists_it() -> None:
    """What is held goes on under the new symbol; the old one has no bar, in a range as in the month alone."""
    prices, delistings = renamed()
    universe = pl.DataFrame({"ticker": ["OLD", "OLD"], "date": [day(9), day(25)]})
    result = labels(prices, delistings, universe, SETTINGS, DAYS, FAR, day(0), day(30))
    assert result["date"].unique().to_list() == [day(9)]
    later, none = prices.filter(pl.col("date") >= day(21)), delistings.filter(pl.col("known_at") >= day(21))
    assert labels(later, none, universe, SETTINGS, DAYS[21:], FAR, day(21), day(30)).is_empty()


def test_the_next_owner_of_an_old_symbol_has_its_own_delistings() -> None:
    prices, delistings = renamed(taken=20)
    universe = pl.DataFrame({"ticker": ["OLD"], "date": [day(30)]})
    result = labels(prices, delistings, universe, SETTINGS, DAYS, FAR, day(0), day(30))
    assert result.select("forward_return", "delisted").unique().rows() == [(0.0, False)]


def test_labels_mature() -> None:
    bars = steady(*range(100))
    assert set(ask(bars, last_known=day(5))) == {1}
    assert set(ask(bars, last_known=day(6))) == {1, 5}
    assert set(ask(bars, last_known=day(1))) == set()


@pytest.fixture(scope="module")
def compute():
    def run(market, first: str, last: str, last_known: date, shuffle: bool = False) -> pl.DataFrame:
        after = months_covering(forward_sessions(SETTINGS))
        newest = month_end(shift_month(last, after))
        days = market.days[
            (market.days >= np.datetime64(month_start(first))) & (market.days <= np.datetime64(min(newest, last_known)))
        ]
        prices = market.prices.filter(pl.col("panel_from").is_between(month_start(first), min(newest, last_known)))
        delistings = market.delistings.filter(
            pl.col("known_at").is_between(month_start(first), min(newest, last_known))
        )
        universe = market.universe.filter(pl.col("date").is_between(month_start(first), month_end(last)))
        if shuffle:
            prices, universe = (
                prices.sample(fraction=1.0, shuffle=True, seed=1),
                universe.sample(fraction=1.0, shuffle=True, seed=2),
            )
        return labels(prices, delistings, universe, SETTINGS, days, last_known, month_start(first), month_end(last))

    return run


@pytest.fixture(scope="module")
def whole(compute, market) -> pl.DataFrame:
    return compute(market, MONTHS[0], MONTHS[-1], date(2021, 6, 30))


def test_range_equals_months(whole, compute, market, identical, nothing_infinite) -> None:
    months = [compute(market, month, month, date(2021, 6, 30)) for month in MONTHS]
    identical(pl.concat(months).sort("ticker", "date", "horizon"), whole)
    nothing_infinite(whole)
    assert set(whole.filter("delisted")["ticker"]) == {"GONE"}
    assert whole["horizon"].value_counts()["count"].min() > 900


def test_order_of_the_input_and_other_tickers_do_not_matter(whole, compute, market, identical, only) -> None:
    identical(compute(market, MONTHS[0], MONTHS[-1], date(2021, 6, 30), shuffle=True), whole)
    few = compute(only(market, ["GONE", "HALT", "LEFT"]), MONTHS[0], MONTHS[-1], date(2021, 6, 30))
    identical(few, whole.filter(pl.col("ticker").is_in(["GONE", "HALT", "LEFT"])))


@pytest.mark.parametrize(
    "last_known", [date(2020, 6, 10), date(2020, 9, 15), date(2020, 9, 21), date(2020, 9, 22), date(2020, 10, 9)]
)
def test_what_becomes_known_later_changes_no_label_known_before(
    last_known: date, whole, compute, market, identical, cut
) -> None:
    months = [month for month in MONTHS if month <= month_of(last_known)]
    result = compute(cut(market, last_known), months[0], months[-1], last_known)
    identical(result, whole.filter(pl.col("known_at") <= last_known))
    assert result.height > 100


def test_a_label_outlives_its_tickers_move_to_another_sector(whole, market) -> None:
    rows = whole.filter(pl.col("ticker") == "LEFT")
    assert rows["date"].max() == date(2020, 8, 6)
    assert rows.filter(pl.col("date") == date(2020, 8, 6), pl.col("horizon") == 60)["exit_date"].item() == date(
        2020, 11, 2
    )


def test_sessions_that_end_too_early_are_an_error(market) -> None:
    days = market.days[market.days < np.datetime64("2020-07-01")]
    with pytest.raises(
        HistoryError, match="sessions end on 2020-06-30, before the last exit session and before 2020-12-31"
    ):
        labels(
            market.prices,
            market.delistings,
            market.universe,
            SETTINGS,
            days,
            date(2020, 12, 31),
            date(2020, 6, 1),
            date(2020, 6, 30),
        )


def test_an_empty_sector_gives_no_rows(market) -> None:
    empty = labels(
        market.prices.clear(),
        market.delistings.clear(),
        market.universe.clear(),
        SETTINGS,
        market.days,
        FAR,
        date(2020, 6, 1),
        date(2020, 6, 30),
    )
    assert empty.is_empty()
    assert empty.schema == DATASETS["labels"].schema
