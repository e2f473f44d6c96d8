"""Collected texts in the view that the provider reads: as they were first seen, and none that came later."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from quant_assets.collectors.newsapi import ARTICLES, NewsApi
from quant_assets.collectors.reddit import POSTS, Reddit
from quant_assets.collectors.tables import Tables
from quant_assets.collectors.view import view
from quant_assets.collectors.yahoo import Yahoo
from quant_assets.collectors.yahoo_chart import ASKED, BARS
from quant_assets.settings.collecting import CollectingSettings
from quant_assets.sources.base import NEWS

AT = datetime(2026, 11, 24, 12, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path) -> CollectingSettings:
    """A bar of AAPL, and a text of each provider, published at `AT`."""
    made = CollectingSettings(folder=str(tmp_path), universe={"it": ("AAPL",)})
    bar: dict[str, Any] = {"ticker": "AAPL", "date": AT.date(), "close": 1.0, "fetched_at": AT}
    asked = {"ticker": "AAPL", "on": AT.date(), "since": date(2026, 1, 1), "fetched_at": AT}
    append(made, Yahoo, {BARS.name: [bar], ASKED.name: [asked]})
    text = {"item": "article", "published": AT, "title": "Apple rises", "publisher": "Example"}
    append(made, NewsApi, {ARTICLES.name: [text | {"fetched_at": AT + timedelta(hours=1)}]})
    post = {"item": "t3_a", "published": AT, "title": "$AAPL", "subreddit": "stocks"}
    append(made, Reddit, {POSTS.name: [post | {"fetched_at": AT + timedelta(hours=2)}]})
    return made


def append(settings: CollectingSettings, collector: Any, rows: dict[str, list[dict[str, Any]]]) -> None:
    """Add versions to a collector's tables."""
    tables = Tables(settings.path / "tables", collector.name, collector.tables)
    stored = {table.name: table.stored for table in collector.tables}
    tables.append({name: pl.DataFrame(each, stored[name]) for name, each in rows.items()}, ("2026-11-24", 1))


def news(settings: CollectingSettings, by: datetime) -> pl.DataFrame:
    return pl.read_parquet(view(settings, by) / "news.parquet")


def test_texts_are_there_from_when_they_could_be_read(settings: CollectingSettings) -> None:
    found = news(settings, AT + timedelta(days=3))
    assert found.schema == NEWS
    assert found.select("item", "provider", "known_at", "ticker").rows() == [
        ("t3_a", "reddit", AT + timedelta(hours=2), None),
        ("article", "newsapi", AT + timedelta(hours=24), None),
    ]
    assert news(settings, AT + timedelta(hours=23))["item"].to_list() == ["t3_a"]


def test_what_is_collected_meanwhile_is_in_the_next_view(settings: CollectingSettings) -> None:
    by = AT + timedelta(days=3)
    before = view(settings, by)
    late = {
        "item": "late",
        "published": AT,
        "title": "found late",
        "publisher": None,
        "fetched_at": AT + timedelta(days=2),
    }
    append(settings, NewsApi, {ARTICLES.name: [late]})
    assert view(settings, by) != before
    known = news(settings, by).filter(pl.col("item") == "late")["known_at"].to_list()
    assert known == [AT + timedelta(days=2)]
