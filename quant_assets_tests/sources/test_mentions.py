"""Which companies a text is about."""

import re
from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import pytest

from quant_assets.sources.collected_news import KNOWN
from quant_assets.sources.mentions import AMBIGUOUS, MENTIONS, NAMES, mentions

BEGINNING = date(2000, 1, 1)


def names(*rows: tuple[str, str, bool] | tuple[str, str, bool, date, date | None]) -> pl.DataFrame:
    made = [(name, ticker, *(rest or (BEGINNING, None)), symbol) for name, ticker, symbol, *rest in rows]
    return pl.DataFrame(made, schema=NAMES, orient="row")


EVERY = names(
    ("Apple", "AAPL", False),
    ("AAPL", "AAPL", True),
    ("Delta", "DAL", False),
    ("Delta Air Lines", "DAL", False),
    ("Delta Apparel", "DLA", False),
    ("AT&T", "T", False),
    ("T", "T", True),
    ("C3", "AI", False),
    ("AI", "AI", True),
    ("BRK.B", "BRK.B", True),
    ("Facebook", "FB", False, BEGINNING, date(2022, 6, 9)),
    ("Facebook", "META", False, date(2022, 6, 9), None),
    ("FB", "FB", True, BEGINNING, date(2022, 6, 9)),
    ("Liberty", "LBTYA", False),
    ("Liberty", "LSXMA", False),
    ("Home Depot", "HD", False),
)


def texts(*titles: str, on: date = date(2026, 11, 30), text: str | None = None) -> pl.DataFrame:
    at = datetime(on.year, on.month, on.day, 12, tzinfo=UTC)
    rows: list[Any] = [(str(place), at, at, title, text, "Example News") for place, title in enumerate(titles)]
    return pl.DataFrame(rows, schema=KNOWN, orient="row")


def found(title: str, **told: Any) -> list[str]:
    companies: list[str] = mentions(texts(title, **told), EVERY)[0]["ticker"].to_list()
    return companies


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        ("Apple beats", ["AAPL"]),
        ("Apple's quarter", ["AAPL"]),
        ("Apple’s quarter", ["AAPL"]),
        ("'Apple', said they", ["AAPL"]),
        ("Apple Apple Delta", ["AAPL", "DAL"]),  # names beside one another
        ("an apple a day", []),
        ("Applebee rises, Pineapple falls, MyApple too", []),
        ("Delta Air Lines and Apple", ["AAPL", "DAL"]),
        ("Delta Apparel falls", ["DLA"]),  # the longest name, not the airline
        ("AT&T raises", ["T"]),
        ("Home\nDepot", ["HD"]),
        ("$AAPL up, NYSE: T down", ["AAPL", "T"]),
        ("(NASDAQ: AAPL) up", ["AAPL"]),
        ("Berkshire (BRK.B)", ["BRK.B"]),
        ("T is a letter and AAPL stands without a mark", []),
        ("Artificial intelligence (AI) grows", []),
        ("Artificial intelligence (AI) grows, $AI as well", ["AI"]),
        ("$AAPLX and $aapl", []),
        ("Facebook grows", ["META"]),
        ("(FB) grows", []),  # no longer
        ("Liberty grows", []),
        ("", []),
    ],
)
def test_companies_of_a_title(title: str, expected: list[str]) -> None:
    assert found(title) == expected


def test_the_text_tells_as_well_and_does_not_continue_the_title() -> None:
    assert found("Something about", text="Delta Air Lines") == ["DAL"]
    assert found("News of Home", text="Depot") == []


def test_a_name_means_what_it_meant_then() -> None:
    assert found("Facebook grows (FB)", on=date(2022, 6, 8)) == ["FB"]
    assert found("Facebook grows (FB)", on=date(2022, 6, 9)) == ["META"]
    assert found("Facebook grows", on=date(1999, 1, 1)) == []


def test_what_is_ambiguous_is_counted() -> None:
    given = texts("Liberty and Apple", "Liberty again, Liberty", "about AI (AI)", "nothing")
    clear, ambiguous = mentions(given, EVERY)
    assert clear.rows() == [("0", "AAPL")]
    assert ambiguous.rows() == [("AI", "AI", 1), ("Liberty", "LBTYA, LSXMA", 2)]


def test_empty_frames_have_their_columns() -> None:
    for given, called in ((texts(), EVERY), (texts("Apple"), EVERY.clear())):
        clear, ambiguous = mentions(given, called)
        assert (clear.schema, ambiguous.schema) == (MENTIONS, AMBIGUOUS)
        assert len(clear) == len(ambiguous) == 0


def test_names_are_found_as_a_slow_reference_finds_them() -> None:
    """Every pair of names with what may stand between: the longest first, words of their own."""
    called = EVERY.filter(~pl.col("is_symbol"), pl.col("until").is_null())
    tickers = dict(called.filter(pl.col("name") != "Liberty").select("name", "ticker").iter_rows())
    joined = [
        f"{one}{between}{other}" for one in tickers for other in tickers for between in (" ", ", ", "", " x ", "'s ")
    ]
    longest = "|".join(re.escape(name) for name in sorted(tickers, key=len, reverse=True))
    clear, _ = mentions(texts(*joined), called)
    by_item = dict(clear.group_by("item").agg(pl.col("ticker").sort()).iter_rows())
    for place, title in enumerate(joined):
        plain = title.replace("'s", "")
        expected = sorted({tickers[name] for name in re.findall(rf"(?<![\w&])(?:{longest})(?![\w&])", plain)})
        assert by_item.get(str(place), []) == expected, title
