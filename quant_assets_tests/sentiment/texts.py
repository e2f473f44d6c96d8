"""Labelled headlines that are made of a few words, and news of two companies, for the tests of sentiment."""

from datetime import UTC, date, datetime
from typing import Any

import polars as pl

from quant_assets.sources.base import NEWS

_SAID = {
    "positive": ("profit jumps", "sales surge", "shares rally after upgrade", "wins large order"),
    "negative": ("profit slumps", "sales collapse", "shares tumble after downgrade", "faces large lawsuit"),
    "neutral": ("to hold annual meeting", "names new director", "publishes its calendar", "moves its office"),
}
_WHEN = ("today", "in March", "this quarter", "again", "as planned", "in Oslo", "on Monday", "for 2021")

TRAINED = date(2021, 12, 31)


def labelled_texts(corpus: str = "made up") -> pl.DataFrame:
    """96 headlines of companies that are numbered: 32 of each label."""
    rows = [
        (f"Company {number}{place} {said} {when}", label, corpus)
        for label, texts in _SAID.items()
        for number, said in enumerate(texts)
        for place, when in enumerate(_WHEN)
    ]
    return pl.DataFrame(rows, {"text": pl.String, "label": pl.String, "dataset": pl.String}, orient="row")


def at(text: str) -> datetime:
    """A moment in UTC, as `2024-07-02 19:59`."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def news(*rows: tuple[str, str, str], ticker: str | None = None, publisher: str | None = None) -> pl.DataFrame:
    """News of (item, when it was known in UTC, title)."""
    made: list[Any] = [
        (item, ticker, at(known), at(known), title, None, publisher, "made") for item, known, title in rows
    ]
    return pl.DataFrame(made, NEWS, orient="row")
