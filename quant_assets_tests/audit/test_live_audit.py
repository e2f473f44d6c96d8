"""The audit of profile `live` over what was collected on loopback: clean as it is, and leaks of the view are caught."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from quant_assets.audit.lookahead import audit_lookahead
from quant_assets.audit.parts import quick_audit
from quant_assets.audit.providers import audit_provider
from quant_assets.collectors import view_companies, view_series
from quant_assets.collectors.fred import Fred
from quant_assets.collectors.view_known import KNOWN_ON
from quant_assets.market.calendar import sessions
from quant_assets.profile import Profile
from quant_assets.sentiment.training import labelled, train
from quant_assets.settings.loading import load_settings
from quant_assets.sources import collected_news
from quant_assets_tests.audit.leaks import spoil
from quant_assets_tests.collectors.answers_texts import NEWS_KEY
from quant_assets_tests.collectors.clock import SimulatedClock
from quant_assets_tests.collectors.live_market import NAMES, SECTOR, TICKERS, collected
from quant_assets_tests.collectors.yahoo_server import evening
from quant_assets_tests.graph import SMALL
from quant_assets_tests.sentiment.texts import TRAINED, labelled_texts

pytest.importorskip("yfinance")
FIRST, BEGUN, LAST = date(2025, 3, 3), date(2025, 10, 1), date(2026, 2, 27)


def profile(folder: Path, evenings: list[date], patch: pytest.MonkeyPatch, tickers: list[str]) -> Profile:
    """The profile as it is on the last evening."""
    import yfinance
    from yfinance.data import SingletonMeta, YfData

    yfinance.set_tz_cache_location(str(folder / "yfinance"))
    patch.setenv("FMP_API_KEY", "a-key-of-fmp")
    patch.setenv("FRED_API_KEY", "a-key-of-fred")
    patch.setenv("NEWSAPI_KEY", NEWS_KEY)
    with collected(folder / "collected", FIRST, evenings, SimulatedClock(evening(evenings[0])), tickers) as settings:
        pass
    SingletonMeta._instances.pop(YfData, None)
    given: dict[str, Any] = {**SMALL, "collecting": settings.model_dump(), "storage": str(folder / "storage")}
    given["files"] = {"membership": {"file": "membership.parquet", "without_start": "always"}}
    scorer = train("tfidf", labelled(labelled_texts()), TRAINED)
    (folder / "scorer.npz").write_bytes(scorer)
    given["sentiment"] = {
        "scorer": "tfidf",
        "path": folder / "scorer.npz",
        "sha256": hashlib.sha256(scorer).hexdigest(),
    }
    given["sentiment"]["names"] = {ticker: NAMES[ticker] for ticker in tickers}
    given["features"] = {"sets": ["core", "sentiment", "macro"]}
    made = load_settings("live", **given, as_of=evenings[-1], partitions={"start": f"{FIRST:%Y-%m}"})
    return Profile(made)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Profile]:
    """Three companies, collected every two weeks."""
    with pytest.MonkeyPatch.context() as patch:
        days = sessions(BEGUN, LAST).tolist()[::10]
        yield profile(tmp_path_factory.mktemp("live"), days, patch, TICKERS[:3])


def provider_failures(of: Profile) -> set[str]:
    """Datasets of which the answers of the provider are not those of what had been collected."""
    shutil.rmtree(
        of.settings.collecting.path / "views", ignore_errors=True
    )  # a view is named after the code of those that are not spoiled
    result = audit_provider(Profile(of.settings), sectors=[SECTOR], first="2025-11", last="2026-02")
    compared = {each.asset: each.compared for each in result.comparisons}
    assert all(compared[name] for name in ("universe", "ohlcv", "fundamentals", "macro", "sentiment"))
    return {each.asset for each in result.failures}


def known_when_published(patch: pytest.MonkeyPatch, where: Any) -> None:
    """A version counts from the day that its provider gives with it, whenever it was fetched."""

    def known(real: Any, versions: Any, key: Any, together: Any, published: pl.Expr, by: Any) -> pl.DataFrame:
        found = real(versions, key, together, published, by).with_columns(published.alias(KNOWN_ON))
        return found.unique([*key, KNOWN_ON], keep="last", maintain_order=True)

    spoil(patch, where, "as_known", known)


def statements_at_period_end(patch: pytest.MonkeyPatch) -> None:
    """A day later, for what is known by the end of its period is taken for a mistake."""

    def at_end(real: Any, *given: Any) -> pl.DataFrame:
        found = real(*given).unique(["ticker", "period_end", "form"], keep="first", maintain_order=True)
        return found.with_columns(published=pl.col("period_end") + pl.duration(days=1))

    spoil(patch, view_companies, "statements", at_end)


def members_by_their_day(patch: pytest.MonkeyPatch) -> None:
    """A change of an index counts from its own day, whenever it was fetched."""

    def by_day(real: Any, lists: pl.DataFrame, changes: pl.DataFrame) -> Any:
        return real(lists, changes.with_columns(pl.col("date").alias(KNOWN_ON)))

    spoil(patch, view_companies, "_spans", by_day)


def latest_vintage(patch: pytest.MonkeyPatch) -> None:
    """Each period has the value of its newest vintage from its first release on."""

    def newest(real: Any, *given: Any) -> pl.DataFrame:
        period = ["series_id", "period"]
        return real(*given).with_columns(pl.col("value").sort_by("released").last().over(period))

    spoil(patch, view_series, "observations", newest)


def news_when_published(patch: pytest.MonkeyPatch) -> None:
    """Whenever they were first seen."""

    def told(real: Any, *given: Any) -> pl.DataFrame:
        found: pl.DataFrame = real(*given)
        return found.with_columns(known_at="published")

    spoil(patch, collected_news, "known", told)


def restated_at_first(patch: pytest.MonkeyPatch) -> None:
    """Of statements alone."""

    def told(real: Any, *given: Any) -> pl.DataFrame:
        with pytest.MonkeyPatch.context() as within:
            known_when_published(within, view_companies)
            found: pl.DataFrame = real(*given)
        return found

    spoil(patch, view_companies, "statements", told)


LEAKS: dict[str, tuple[Callable[[pytest.MonkeyPatch], None], str]] = {
    "a restatement under the day of its first filing": (restated_at_first, "fundamentals"),
    "a change of an index before it was collected": (members_by_their_day, "universe"),
    "collected statements known at the end of their period": (statements_at_period_end, "fundamentals"),
    "a vintage known before it was collected": (lambda patch: known_when_published(patch, view_series), "macro"),
    "the newest vintage in place of the one known": (latest_vintage, "macro"),
    "news known when published, not when first seen": (news_when_published, "sentiment"),
}


@pytest.mark.slow
@pytest.mark.nightly
def test_the_provider_answers_what_had_been_collected(live: Profile) -> None:
    assert provider_failures(live) == set()
    assert live.collection.tables(Fred.name).versions("observations")["value"].null_count() > 0


@pytest.mark.slow
@pytest.mark.parametrize("leak", LEAKS)
def test_a_leak_of_the_view_is_caught(live: Profile, leak: str, monkeypatch: pytest.MonkeyPatch) -> None:
    plant, dataset = LEAKS[leak]
    plant(monkeypatch)
    assert provider_failures(live) == {dataset}


@pytest.mark.slow
@pytest.mark.nightly
def test_what_the_assets_make_of_it_uses_nothing_of_later(live: Profile) -> None:
    assets = ("universe", "ohlcv", "delistings", "prices", "fundamentals", "macro", "sentiment")
    result = audit_lookahead(
        live,
        sectors=[SECTOR],
        first="2025-10",
        last="2026-02",
        assets=assets,
        tests=("truncation", "perturbation"),
        cuts=[date(2025, 12, 16)],
    )
    assert [(each.test, each.asset, each.column, each.cause) for each in result.failures] == []
    compared = {each.asset: each.compared for each in result.comparisons}
    assert all(compared[name] for name in assets if name != "delistings")


@pytest.mark.slow
@pytest.mark.nightly
def test_the_quick_audit_of_the_profile_is_clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    days = sessions(BEGUN, LAST).tolist()[::5]
    of = profile(tmp_path, days, monkeypatch, TICKERS)
    result = quick_audit(of, SECTOR, "2026-02")
    assert [(each.test, each.asset, each.column, each.cause) for each in result.failures] == []
    rows = sum(each.compared for each in result.comparisons if each.column is None)
    assert rows > 10_000
