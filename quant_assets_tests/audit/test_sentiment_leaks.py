"""The audit of dataset `sentiment` and of its features: silent as they stand, and told where news count from when they
were published."""

from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from quant_assets.assets import sentiment as wiring
from quant_assets.audit.findings import AuditResult
from quant_assets.audit.lookahead import audit_lookahead
from quant_assets_tests.graph import Graph
from quant_assets_tests.sentiment.texts import given_news, news

pytestmark = pytest.mark.slow


def audited(folder: Path) -> AuditResult:
    """Of the profile of `given_news` with a story a day of B, each published five days before it was first seen.

    One item is of two companies, known of A before the cut and of B after it.
    """
    given = given_news(folder) | {"features": {"sets": ["sentiment"]}}
    days = (*range(3, 29), 18, 18)  # most of them on the eighteenth
    stories = news(*((f"i{n}", f"2022-01-{day:02d} 15:00", f"Beta {n} profit jumps") for n, day in enumerate(days)))
    for company, day in (("A", 13), ("B", 19)):
        stories.extend(news(("two", f"2022-01-{day} 15:00", "Alpha and Beta sales surge"), ticker=company))
    stories.with_columns(published=pl.col("known_at") - pl.duration(days=5)).write_parquet(folder / "news.parquet")
    return audit_lookahead(
        Graph.at(folder / "storage", "files", **given).profile,
        assets=("sentiment", "features"),
        tests=("truncation", "perturbation", "publication"),
        sectors=["energy"],
        first="2022-01",
        last="2022-01",
        cuts=[date(2022, 1, 14)],
        reach=1,
    )


TESTS = ("truncation", "perturbation", "publication")


def test_dataset_and_features_use_nothing_of_later(tmp_path: Path) -> None:
    result = audited(tmp_path)
    assert [(each.test, each.asset, each.cause) for each in result.failures] == []
    compared = {(each.test, each.asset) for each in result.comparisons if each.compared}
    assert compared == {(test, asset) for test in TESTS for asset in ("sentiment", "features")}


def test_published_instead_of_first_seen_is_caught(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = wiring.daily

    def as_published(given: pl.DataFrame, *rest: Any) -> Any:
        return real(given.with_columns(known_at=pl.col("published")), *rest)

    monkeypatch.setattr(wiring, "daily", as_published)
    failed = {(each.test, each.asset) for each in audited(tmp_path).failures}
    assert failed == {(test, asset) for test in TESTS for asset in ("sentiment", "features")}
