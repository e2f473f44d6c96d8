"""Sentiment of each sector's members, from the provider's news by each close and the scorer of the settings."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from quant_assets.asset_functions import Run
from quant_assets.assets.declare import Asset, declared, read
from quant_assets.grains import MONTH
from quant_assets.learning.model_files import VERSION_LENGTH, sha256
from quant_assets.market.calendar import last_session_to, sessions
from quant_assets.profile import Profile
from quant_assets.schemas import DATASETS
from quant_assets.sentiment import scorers
from quant_assets.sentiment.daily import daily
from quant_assets.sentiment.mentions import Names
from quant_assets.sentiment.scorers import open_scorer
from quant_assets.sentiment.scorers.base import Origin, Scorer
from quant_assets.settings.sentiment import SentimentSettings
from quant_assets.sources.base import News, Source
from quant_assets.sources.registry import said_absent


def sentiment_assets(profile: Profile) -> list[dg.AssetsDefinition]:
    """The asset of news."""
    # A scorer is loaded by name, which static analysis cannot follow.
    code = b"".join(path.read_bytes() for path in sorted(Path(scorers.__file__).parent.glob("*.py")))
    kind = profile.settings.sentiment.scorer
    follows = {"scorers": sha256(code)} if kind is not None else {}
    # The settings or files of other scorers identify their weights.
    if kind is not None and (package := scorers.installed(kind)) is not None:
        follows["scorer"] = package
    return declared(profile, "market", Asset("sentiment", sentiment, {"universe": read()}, follows=follows))


def scorer_of(settings: SentimentSettings) -> Scorer | None:
    """The scorer of a profile, its files verified; None without one."""
    if settings.scorer is None:
        return None
    return open_scorer(Origin(settings.scorer, settings.path, settings.sha256, settings.trained_through))


def sentiment(run: Run, source: Source, settings: SentimentSettings, universe: pl.DataFrame) -> pl.DataFrame:
    """Mean and spread of sentiment, by member and session with news."""
    before = last_session_to(run.first_day - timedelta(days=1))
    tickers = universe["ticker"].unique().sort().to_list()
    news = source.news(tickers, before - timedelta(days=settings.story_days + 1), run.through)
    scorer = scorer_of(settings) if len(news) else None
    measured = daily(
        news,
        Names(settings.names, tickers),
        sessions(before, run.through),
        run.first_day,
        settings,
        scorer.scores if scorer else None,
        scorer.trained_through if scorer else None,
    )
    run.tell_run(said_absent(source, News) | _without_scorer(settings))
    run.tell_each(_counted(run, measured.items))
    members = universe.select("sector", "ticker", "date")
    rows = measured.rows.join(members, on=["ticker", "date"], how="inner").with_columns(
        scorer=pl.lit(f"{scorer.name}-{scorer.sha256[:VERSION_LENGTH]}" if scorer else None, pl.String),
        trained_through=pl.lit(scorer.trained_through if scorer else None, pl.Date),
    )
    return rows.select("sector", *DATASETS["sentiment"].columns).sort("sector", "ticker", "date")


def _without_scorer(settings: SentimentSettings) -> dict[str, str]:
    said = "no scorer is set: stories are counted, not scored; name one in sentiment.scorer"
    return {"no_scorer": said} if settings.scorer is None else {}


def _counted(run: Run, items: pl.DataFrame) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Counts of stories by month, of all sectors; repeated for every sector."""
    counted = items.group_by(month=MONTH.label("date")).agg(
        stories_of_all_sectors=pl.len(),
        stories_with_an_ambiguous_name=pl.col("ambiguous").sum(),
        stories_the_scorer_may_know=pl.col("early").sum(),
    )
    counts = {str(row.pop("month")): row for row in counted.to_dicts()}
    nothing = dict.fromkeys(counted.columns[1:], 0)
    for month in run.months:
        yield from ((sector, month, counts.get(month, nothing)) for sector in run.sectors)
