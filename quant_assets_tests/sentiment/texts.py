"""For the tests of sentiment: labelled headlines of a few words, news, and a profile that has news and a scorer."""

import hashlib
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import polars as pl

from quant_assets.market.calendar import sessions
from quant_assets.sentiment.training import labelled, train
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


DAYS = sessions(date(2021, 12, 1), date(2022, 2, 28))
NAMES = {"A": ["Alpha", "Alpha Group"], "B": ["Beta"], "C": ["Alpha"]}
TEXTS = (
    ("a", "2021-12-30 15:00", "Beta profit jumps today"),  # the scorer may know it
    ("b", "2022-01-04 15:00", "Beta profit jumps today"),
    ("c", "2022-01-04 16:00", "Beta sales collapse again"),
    ("d", "2022-01-04 21:30", "Alpha Group shares rally after upgrade"),  # after the close of the fourth
    ("e", "2022-01-05 15:00", "Alpha names new director"),  # of two companies
    ("f", "2022-01-31 22:00", "Beta profit slumps"),  # counts in February
)


def given_news(folder: Path) -> dict[str, Any]:
    """Settings of a folder with prices of three companies, news of them, and a trained scorer."""
    bars = pl.concat(
        pl.DataFrame({"date": pl.Series(DAYS, dtype=pl.Date)}).with_columns(
            ticker=pl.lit(name), open=1.0, high=1.0, low=1.0, close=pl.int_range(pl.len()) % 3 + 100.0, volume=1e6
        )
        for name in NAMES
    ).with_columns(open="close", high="close", low="close")
    bars.write_parquet(folder / "bars.parquet")
    start = [date(2021, 11, 30)] * 3
    pl.DataFrame({"ticker": list(NAMES), "sector": ["energy"] * 3, "as_of": start}).write_parquet(
        folder / "securities.parquet"
    )
    news(*TEXTS).drop("ticker", "provider", "text").write_parquet(folder / "news.parquet")
    content = train("tfidf", labelled(labelled_texts()), TRAINED)
    (folder / "scorer.npz").write_bytes(content)
    return {
        "data_dir": folder,
        "files": {
            "prices": [{"file": "bars.parquet", "provider": "made", "adjustment": "as_traded"}],
            "securities": {"file": "securities.parquet", "sectors": {"energy": "energy"}},
            "membership": None,
            "fundamentals": [],
            "macro": [],
            "crypto": None,
            "indices": None,
            "renames": [],
            "delisted": [],
            "news": {"file": "news.parquet"},
        },
        "sentiment": {
            "scorer": "tfidf",
            "path": folder / "scorer.npz",
            "sha256": hashlib.sha256(content).hexdigest(),
            "names": NAMES,
        },
        "partitions": {"start": "2021-12", "end": "2022-02"},
        "as_of": date(2022, 2, 25),
    }
