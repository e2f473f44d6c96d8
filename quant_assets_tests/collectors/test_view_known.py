"""From when a collected version counts as known: against a slow reference, and the views of early days against late."""

import random
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import polars as pl
import pytest

from quant_assets.collectors.view_known import KNOWN_ON, as_known

NEW_YORK = ZoneInfo("America/New_York")
BEGUN = datetime(2026, 3, 2, 22, tzinfo=UTC)
SCHEMA = pl.Schema(
    {
        "ticker": pl.String,
        "period": pl.Int64,
        "published": pl.Date,
        "value": pl.Int64,
        "fetched_at": pl.Datetime("us", "UTC"),
    }
)


def versions(seed: int) -> pl.DataFrame:
    """Of three tickers, of which the second is begun weeks later, and the third in the middle of a night of UTC."""
    rng = random.Random(seed)
    begun = {"A": BEGUN, "B": BEGUN + timedelta(days=40), "C": BEGUN + timedelta(days=60, hours=1, minutes=50)}
    rows = list[tuple[Any, ...]]()
    for ticker, first in begun.items():
        for number in range(30):
            at = first + timedelta(minutes=number) if number < 12 else first + timedelta(hours=rng.randrange(1, 1_500))
            told = rng.random() < 0.9
            published = at.astimezone(NEW_YORK).date() - timedelta(days=rng.randrange(90)) if told else None
            rows.append((ticker, rng.randrange(8), published, number, at))
    return pl.DataFrame(sorted(rows, key=lambda row: row[-1]), SCHEMA, orient="row")


def known(given: pl.DataFrame, by: datetime) -> pl.DataFrame:
    return as_known(given, ["ticker", "period"], [pl.col("ticker")], pl.col("published"), by)


def slowly(given: pl.DataFrame, by: datetime) -> list[dict[str, Any]]:
    """Row by row, as the module says it."""
    rows, found, seen = given.rows(named=True), list[dict[str, Any]](), set[tuple[str, int]]()
    on = {id(row): row["fetched_at"].astimezone(NEW_YORK).date() for row in rows}
    for row in rows:
        begun = min(on[id(each)] for each in rows if each["ticker"] == row["ticker"])
        first = (row["ticker"], row["period"]) not in seen and on[id(row)] <= begun + timedelta(days=1)
        seen.add((row["ticker"], row["period"]))
        published = row["published"]
        past = first and (published is None or published < begun)
        if past or row["fetched_at"] < by:
            late = on[id(row)] if published is None else max(published, on[id(row)])
            found.append({**row, KNOWN_ON: published if past else late})
    return found


@pytest.mark.parametrize("seed", range(8))
def test_it_is_what_the_rule_says_row_by_row(seed: int) -> None:
    given, by = versions(seed), BEGUN + timedelta(days=20 * seed)
    found = known(given, by)
    assert found.rows(named=True) == slowly(given, by)
    assert 0 < found.filter(pl.col(KNOWN_ON) < pl.col("fetched_at").dt.date()).height < len(given)


@pytest.mark.parametrize("seed", range(8))
def test_what_an_early_day_knows_is_what_a_late_one_says_of_it(seed: int) -> None:
    """Also of tickers begun after it. In the end every version is there, none known before it was published."""
    given = versions(seed)
    end = known(given, BEGUN + timedelta(days=200))
    assert end.drop(KNOWN_ON).equals(given)
    assert end.filter(pl.col(KNOWN_ON) < pl.col("published")).is_empty()
    days = [BEGUN.date() + timedelta(days=n) for n in range(-30, 130, 7)]
    counts = []
    for day in days:
        by = datetime(day.year, day.month, day.day, 20, 30, tzinfo=UTC) + timedelta(days=1)
        told, cut = (frame.filter(pl.col(KNOWN_ON) <= day) for frame in (known(given, by), end))
        assert told.equals(cut)
        counts.append(len(told))
    assert counts[2] > 0
    assert counts == sorted(counts)


def test_a_ticker_begun_late_is_known_in_its_past_and_what_comes_later_is_not() -> None:
    late, day = BEGUN + timedelta(days=40), date(2026, 3, 20)
    rows = [
        ("A", 1, day, 1, BEGUN),
        ("B", 1, day, 2, late),
        ("B", 1, day, 3, late + timedelta(hours=3)),  # another version, on the same evening
        ("B", 2, day, 4, late + timedelta(days=5)),  # a fact that the first collection had not
        ("B", 3, late.date(), 5, late),  # of the day of the first collection
    ]
    found = known(pl.DataFrame(rows, SCHEMA, orient="row"), late - timedelta(days=10))
    assert found.select("value", KNOWN_ON).rows() == [(1, day), (2, day)]
    after = known(pl.DataFrame(rows, SCHEMA, orient="row"), late + timedelta(days=9))
    assert after.select("value", KNOWN_ON).rows() == [
        (1, day),
        (2, day),
        (3, late.date()),
        (4, late.date() + timedelta(days=5)),
        (5, late.date()),
    ]
