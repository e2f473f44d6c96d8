"""Features of news: their windows, null without news, and no news from the time of the scorer's training."""

from datetime import date

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from quant_assets.errors import SettingsError
from quant_assets.features.library import FeatureLibrary, ready_made
from quant_assets.features.sentiment import FEATURES, news_features
from quant_assets.market.calendar import sessions
from quant_assets.sentiment.daily import ROWS
from quant_assets.settings.domain import FundamentalSettings

DAYS = sessions(date(2024, 1, 2), date(2024, 4, 30))
ROWS_ASKED = pl.DataFrame({"ticker": pl.Series(["A", "B"])}).join(
    pl.DataFrame({"date": pl.Series(DAYS, dtype=pl.Date)}), how="cross"
)


def drawn(seed: int = 4) -> pl.DataFrame:
    """Stories of A on some sessions, the first ten of them not scored."""
    rng = np.random.default_rng(seed)
    there = np.sort(rng.choice(len(DAYS), 30, replace=False))
    result = {
        "ticker": ["A"] * 30,
        "date": DAYS[there],
        "stories": rng.integers(1, 5, 30),
        "scored": np.where(np.arange(30) < 10, 0, rng.integers(1, 5, 30)),
        "sentiment": rng.uniform(-1, 1, 30),
        "dispersion": rng.uniform(0, 0.3, 30),
    }
    rows = pl.DataFrame(result).cast(ROWS)
    unknown = pl.col("scored") == 0
    return rows.with_columns(pl.when(~unknown).then(name).alias(name) for name in ("sentiment", "dispersion"))


def by_hand(news: pl.DataFrame, place: int, window: int) -> tuple[float | None, float | None, float | None]:
    """Mean, spread and number of the stories of a window, story by story."""
    days = DAYS[max(0, place - window + 1) : place + 1].tolist()
    rows = news.filter(pl.col("date").is_in(days), pl.col("scored") > 0)
    count = rows["scored"].sum()
    if not count:
        return None, None, None
    weights, means = rows["scored"].to_numpy() / count, rows["sentiment"].to_numpy()
    mean = float((weights * means).sum())
    spread = float((weights * (rows["dispersion"].to_numpy() ** 2 + (means - mean) ** 2)).sum()) ** 0.5
    return mean, spread, float(count)


def test_every_window_holds_its_sessions_and_no_other() -> None:
    news = drawn()
    result = news_features(ROWS_ASKED, news, FEATURES, DAYS).filter(pl.col("ticker") == "A").sort("date")
    assert len(result) == len(DAYS)
    for place, row in enumerate(result.iter_rows(named=True)):
        for window in (1, 5, 20):
            assert row[f"news_sentiment_{window}"] == pytest.approx(by_hand(news, place, window)[0]), (place, window)
        _, spread, count = by_hand(news, place, 20)
        assert row["news_dispersion_20"] == pytest.approx(spread, abs=1e-7)
        assert row["news_stories_20"] == count
    assert 10 < result["news_sentiment_1"].null_count() < len(DAYS)


def test_the_declared_lookback_is_enough_and_later_news_change_nothing() -> None:
    news, first = drawn(), 40
    whole = news_features(ROWS_ASKED, news, FEATURES, DAYS).filter(pl.col("date") >= DAYS[first].item())
    days = DAYS[first - 19 :]
    late = pl.col("date") >= days[0].item()
    part = news_features(ROWS_ASKED.filter(pl.col("date") >= DAYS[first].item()), news.filter(late), FEATURES, days)
    assert_frame_equal(part, whole, check_exact=True)
    cut = DAYS[60].item()
    early = news_features(ROWS_ASKED, news.filter(pl.col("date") <= cut), FEATURES, DAYS)
    assert_frame_equal(
        early.filter(pl.col("date") <= cut),
        news_features(ROWS_ASKED, news, FEATURES, DAYS).filter(pl.col("date") <= cut),
        check_exact=True,
    )


def test_without_news_there_is_nothing() -> None:
    assert news_features(ROWS_ASKED, ROWS.to_frame(), FEATURES, DAYS).is_empty()
    result = news_features(ROWS_ASKED, drawn(), FEATURES, DAYS)
    assert set(result["ticker"]) == {"A"}


def test_the_set_is_off_unless_it_is_named() -> None:
    core = FeatureLibrary({"core": ready_made("core")})
    both = FeatureLibrary({"core": ready_made("core"), "sentiment": ready_made("sentiment")})
    assert (core.news, core.news_lookback) == ((), 0)
    assert both.news_lookback == 19
    assert both.price_lookback(FundamentalSettings()) == core.price_lookback(FundamentalSettings())
    assert set(both.names) - set(core.names) == {feature.name for feature in FEATURES}
    with pytest.raises(SettingsError, match="declared a second time"):
        FeatureLibrary({"sentiment": ready_made("sentiment"), "again": (*FEATURES[:1], _twin())})


def _twin() -> object:
    from dataclasses import replace

    return replace(FEATURES[1])
