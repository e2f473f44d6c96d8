"""Scores of sessions: for which session a story counts, of whom it is, and what is never scored."""

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np
import polars as pl
from polars.testing import assert_frame_equal

from quant_assets.market.calendar import closing_times, sessions
from quant_assets.sentiment.daily import ROWS, Daily, daily, stories
from quant_assets.sentiment.mentions import Names, mentions
from quant_assets.sentiment.scorers.base import FloatArray
from quant_assets.settings.sentiment import CompanyName, SentimentSettings
from quant_assets_tests.sentiment.texts import at, news

DAYS = sessions(date(2024, 6, 28), date(2024, 7, 12))
BEFORE, FIRST = date(2023, 12, 31), date(2024, 7, 1)
NAMES = Names({"AAA": [CompanyName(name="Alpha")], "BBB": [CompanyName(name="Beta")]})


def scores(texts: Sequence[str]) -> FloatArray:
    """0.6 for up, -0.4 for down, else 0."""
    rows = [
        [0.1, 0.2, 0.7] if "up" in text else [0.5, 0.4, 0.1] if "down" in text else [0.2, 0.6, 0.2] for text in texts
    ]
    return np.array(rows, np.float64).reshape(-1, 3)


def made(given: pl.DataFrame, trained: date = BEFORE, names: Names = NAMES, **settings: object) -> Daily:
    return daily(given, names, DAYS, FIRST, SentimentSettings(**settings), scores, trained)  # type: ignore[arg-type]


def days(found: Daily) -> dict[tuple[str, str], int]:
    return {
        (ticker, f"{day:%m-%d}"): count
        for ticker, day, count in found.rows.select("ticker", "date", "stories").iter_rows()
    }


def test_a_story_counts_for_the_session_whose_close_it_precedes() -> None:
    given = news(
        ("a", "2024-07-02 20:00", "Alpha up"),  # the very moment of the close
        ("b", "2024-07-02 20:01", "Alpha down"),
        ("c", "2024-07-03 17:30", "Beta up"),  # the third closes at 13:00 New York, the fourth is a holiday
        ("d", "2024-07-06 12:00", "Beta down"),  # a Saturday
    )
    assert days(made(given)) == {("AAA", "07-02"): 1, ("AAA", "07-03"): 1, ("BBB", "07-05"): 1, ("BBB", "07-08"): 1}
    assert days(made(given, cut_minutes=30))[("AAA", "07-03")] == 2


def test_mean_and_spread_over_the_stories_of_a_session() -> None:
    given = news(
        ("a", "2024-07-02 14:00", "Alpha up"),
        ("b", "2024-07-02 15:00", "Alpha down again"),
        ("c", "2024-07-02 16:00", "Alpha and Beta meet"),
    )
    rows = {row["ticker"]: row for row in made(given).rows.to_dicts()}
    assert (rows["AAA"]["stories"], rows["AAA"]["scored"]) == (3, 3)
    np.testing.assert_allclose(rows["AAA"]["sentiment"], (0.6 - 0.4 + 0.0) / 3)
    np.testing.assert_allclose(rows["AAA"]["dispersion"], np.std([0.6, -0.4, 0.0]))
    assert (rows["BBB"]["sentiment"], rows["BBB"]["dispersion"]) == (0.0, 0.0)
    assert made(given).rows.schema == ROWS


def test_what_the_scorer_may_know_is_counted_and_not_scored() -> None:
    given = news(
        ("a", "2024-07-03 03:59", "Alpha up"),  # the second, in New York
        ("b", "2024-07-03 04:01", "Beta up"),
    )
    found = made(given, trained=date(2024, 7, 2))
    rows = {row["ticker"]: row for row in found.rows.to_dicts()}
    assert (rows["AAA"]["stories"], rows["AAA"]["scored"], rows["AAA"]["sentiment"], rows["AAA"]["dispersion"]) == (
        1,
        0,
        None,
        None,
    )
    assert (rows["BBB"]["scored"], rows["BBB"]["sentiment"]) == (1, 0.6)
    assert found.items.sort("item")["early"].to_list() == [True, False]


def test_without_a_scorer_stories_are_counted_alone() -> None:
    found = daily(news(("a", "2024-07-02 14:00", "Alpha up")), NAMES, DAYS, FIRST, SentimentSettings(), None, None)
    assert found.rows.rows() == [("AAA", date(2024, 7, 2), 1, 0, None, None)]


def test_without_news_there_is_no_row() -> None:
    found = made(news())
    assert found.rows.is_empty()
    assert found.rows.schema == ROWS
    assert made(news(("a", "2024-07-02 14:00", "Gamma up"))).rows.is_empty()
    late = made(news(("a", "2024-07-12 20:30", "Alpha up")))
    assert late.rows.is_empty(), "it counts for a session that is not asked for"


def test_a_story_counts_once_until_it_comes_back() -> None:
    given = news(
        ("a", "2024-07-01 14:00", "Alpha up! - Example News"),
        ("c", "2024-07-05 14:00", "alpha up"),
        ("d", "2024-07-09 14:00", "Alpha up"),
        publisher="Example News",
    )
    again = news(("b", "2024-07-03 14:00", "ALPHA UP"), publisher="Other News")
    found = stories(pl.concat([given, again]), timedelta(days=3))
    assert found["item"].to_list() == ["a", "d"]
    of_each = pl.concat([given.with_columns(ticker=pl.lit(name)) for name in ("AAA", "BBB")])
    assert len(stories(of_each, timedelta(days=3))) == 6, "each of two companies has its own"


def test_months_apart_give_what_all_at_once_give() -> None:
    rng = np.random.default_rng(5)
    given = news(
        *(
            (
                f"i{place}",
                f"2024-07-{1 + place % 12:02d} {rng.integers(0, 24):02d}:{rng.integers(0, 60):02d}",
                f"{('Alpha', 'Beta')[place // 12 % 2]} {('up', 'down', 'meets')[place % 3]} {place // 4}",
            )
            for place in range(120)
        )
    )
    whole = made(given).rows
    assert len(whole) > 15
    parts = []
    for asked in np.array_split(DAYS[1:], 3):
        first, last = asked[0].item(), asked[-1].item()
        earlier = sessions(date(2024, 6, 20), first)[-2].item()
        own = given.filter(pl.col("known_at") >= at(f"{earlier} 00:00") - timedelta(days=3))
        parts.append(daily(own, NAMES, sessions(earlier, last), first, SentimentSettings(), scores, BEFORE).rows)
    assert_frame_equal(pl.concat(parts).sort("ticker", "date"), whole, check_exact=True)


def test_later_news_change_no_earlier_session() -> None:
    given = news(("a", "2024-07-02 14:00", "Alpha up"), ("b", "2024-07-08 14:00", "Alpha down"))
    cut = pl.col("date") <= date(2024, 7, 3)
    assert_frame_equal(made(given).rows.filter(cut), made(given.head(1)).rows.filter(cut))


def test_names_hold_for_their_time() -> None:
    names = Names(
        {
            "META": [
                CompanyName(name="Facebook", until=date(2021, 10, 28)),
                CompanyName(name="Meta Platforms", since=date(2021, 10, 28)),
                CompanyName(name="$FB", until=date(2022, 6, 8)),
            ],
            "XFB": [CompanyName(name="$FB", since=date(2023, 1, 1))],
        },
        ["AAPL"],
    )
    assert names.named("Facebook falls", date(2020, 1, 2)) == (("META",), False)
    assert names.named("Facebook falls", date(2024, 1, 2)) == ((), False)
    assert names.named("Meta Platforms falls", date(2020, 1, 2)) == ((), False)
    assert names.named("$FB and $AAPL", date(2020, 1, 2)) == (("AAPL", "META"), False)
    assert names.named("$FB", date(2024, 1, 2)) == (("XFB",), False)
    assert names.named("AAPL, $AAPLX and Facebooks", date(2020, 1, 2)) == ((), False)


def test_what_may_be_of_several_is_left_out_and_told() -> None:
    names = Names(
        {
            "DAL": [CompanyName(name="Delta"), CompanyName(name="Delta Air Lines")],
            "DLA": [CompanyName(name="Delta"), CompanyName(name="Delta Apparel")],
            "AAA": [CompanyName(name="Alpha")],
        }
    )
    day = date(2024, 7, 2)
    assert names.named("Delta rises", day) == ((), True)
    assert names.named("Delta Air Lines rises", day) == (("DAL",), False)
    assert names.named("Delta Air Lines: Delta says", day) == (("DAL",), False)
    assert names.named("Alpha beats Delta", day) == (("AAA",), True)
    given = news(
        ("a", "2024-07-02 14:00", "Delta rises"),
        ("b", "2024-07-02 15:00", "Alpha beats Delta"),
        ("c", "2024-07-02 15:00", "none"),
    )
    rows = mentions(given, names).select("item", "ticker", "ambiguous").rows()
    assert rows == [("a", None, True), ("b", "AAA", True), ("c", None, False)]
    items = made(given, names=names).items
    assert items["ambiguous"].to_list() == [True, True, False]
    assert items["companies"].to_list() == [0, 1, 0]


def test_an_item_counts_of_each_company_from_when_it_was_known_of_it() -> None:
    first = news(("x", "2024-07-02 14:00", "Alpha up"), ticker="AAA")
    later = news(("x", "2024-07-08 14:00", "Alpha up after all"), ticker="BBB")
    together = made(pl.concat([first, later]), trained=date(2024, 7, 3))
    alone = pl.concat([made(each, trained=date(2024, 7, 3)).rows for each in (first, later)])
    assert days(together) == {("AAA", "07-02"): 1, ("BBB", "07-08"): 1}
    assert together.rows["scored"].to_list() == [0, 1], "of A the scorer may know it, of B not"
    assert_frame_equal(together.rows, alone, check_exact=True)
    assert together.items.drop("ambiguous").rows() == [
        ("x", date(2024, 7, 2), 1, True),
        ("x", date(2024, 7, 8), 1, False),
    ]


def test_an_item_that_a_provider_and_its_title_give_to_one_company_counts_once() -> None:
    named = news(("x", "2024-07-02 14:00", "Beta up"))
    later = news(("x", "2024-07-03 14:00", "Beta up, with a correction"), ticker="BBB")
    assert days(made(pl.concat([named, later]))) == {("BBB", "07-02"): 1}


def test_what_a_provider_says_of_its_items_is_taken() -> None:
    given = news(("a", "2024-07-02 14:00", "Alpha up"), ticker="ZZZ")
    assert days(made(given)) == {("ZZZ", "07-02"): 1}
    assert Names({}).named("Alpha", date(2024, 1, 1)) == ((), False)


def test_closing_times_know_summer_and_short_days() -> None:
    asked = (
        sessions(date(2024, 7, 3), date(2024, 7, 3)).tolist()
        + sessions(date(2024, 12, 30), date(2024, 12, 30)).tolist()
    )
    found = closing_times(np.array(asked, "datetime64[D]"))
    assert [str(each) for each in found.astype("datetime64[m]")] == ["2024-07-03T17:00", "2024-12-30T21:00"]
