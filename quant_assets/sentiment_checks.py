"""Asset check of dataset `sentiment`: no score of texts that its scorer may know from training."""

from datetime import date

import dagster as dg

from quant_assets.profile import Profile
from quant_assets.sentiment.daily import looks_ahead
from quant_assets.sentiment.scorers import open_scorer
from quant_assets.sentiment.scorers.base import Origin


def sentiment_checks(profile: Profile) -> list[dg.AssetChecksDefinition]:
    """`scored_after_training`, which blocks."""
    dataset, settings = profile.datasets["sentiment"], profile.settings.sentiment

    @dg.asset_check(
        name="scored_after_training",
        asset=dataset.name,
        blocking=True,
        description="no session up to the last training day of the settings' scorer has a score",
    )
    def check(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
        rows = profile.store.read(dataset, context.op_execution_context.partition_keys).collect()
        through: date | None = None
        if settings.scorer is not None and len(rows):
            origin = Origin(settings.scorer, settings.path, settings.sha256, settings.trained_through)
            through = open_scorer(origin).trained_through
        early = looks_ahead(rows, through)
        first = early.select("ticker", "date").row(0) if len(early) else None
        return dg.AssetCheckResult(
            passed=first is None,
            description=f"{len(early)} sessions have scores that the scorer may know, trained through {through}: "
            f"{first[0]} on {first[1]} is the first. Remedy: materialise sentiment again"
            if first
            else None,
            metadata={"sessions": len(rows), "sessions_that_look_ahead": len(early)},
        )

    return [check]
