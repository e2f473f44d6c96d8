"""When collected texts were known, and stories that several publishers tell."""

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from quant_assets.sources.base import NEWS
from quant_assets.sources.collected_news import KNOWN, known

AT = datetime(2026, 11, 30, 12, tzinfo=UTC)
VERSIONS = pl.Schema({**{name: KNOWN[name] for name in KNOWN if name != "known_at"}, "fetched_at": KNOWN["known_at"]})
DAY = timedelta(hours=24)


def versions(*rows: tuple[str, float, float, str]) -> pl.DataFrame:
    """Of (item, hours after AT at which it was published, those at which it was fetched, title)."""
    made: list[Any] = [
        (item, AT + timedelta(hours=published), title, None, "Example News", AT + timedelta(hours=fetched))
        for item, published, fetched, title in rows
    ]
    return pl.DataFrame(made, schema=VERSIONS, orient="row")


def test_the_columns_are_those_of_news_without_companies() -> None:
    assert {name: NEWS[name] for name in KNOWN} == KNOWN


def test_a_text_is_known_after_the_delay_and_not_before_it_was_seen() -> None:
    given = versions(
        ("late", -500.0, 30.0, "found late, published long ago"),
        ("soon", 0.0, 24.5, "found at once"),
        ("early", 10.0, 12.0, "seen before the plan gives it: dated ahead by its publisher"),
    )
    found = known(given, DAY, AT + timedelta(hours=40))
    hours = {item: (at - AT) / timedelta(hours=1) for item, at in found.select("item", "known_at").iter_rows()}
    assert hours == {"soon": 24.5, "late": 30.0, "early": 34.0}
    assert known(given, DAY, AT + timedelta(hours=30))["item"].to_list() == ["soon", "late"]


def test_what_a_publisher_changes_later_was_not_known() -> None:
    given = versions(("a", 0.0, 1.0, "before"), ("a", -99.0, 50.0, "after, dated back"))
    for order in (given, given.reverse()):
        (row,) = known(order, timedelta(0), AT + DAY * 9).to_dicts()
        assert (row["title"], row["known_at"]) == ("before", AT + timedelta(hours=1))
