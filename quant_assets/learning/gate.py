"""Promotion of trained models: better than the baseline out of sample, with a plausible IC."""

from collections.abc import Collection

import polars as pl

from quant_assets.settings.model_use import PromotionSettings

#: The kind with which other kinds are compared.
BASELINE = "linear"


def plausible(max_daily_ic: float) -> pl.Expr:
    """Whether both daily ICs of a checkpoint's row are at most the greatest plausible one; null without an IC."""
    return pl.max_horizontal("ic", "rank_ic") <= max_daily_ic


def gated(checkpoints: pl.DataFrame, settings: PromotionSettings, directions: Collection[str]) -> pl.DataFrame:
    """Decide which trained models are promoted.

    Both ICs are those of the test folds. The baseline is the first model of kind `linear` that is fitted to returns at
    the same session, sector and horizon; without one, no model beats it.

    Args:
        checkpoints: rows of the checkpoint dataset with `sector`, of any sectors and sessions.
        settings: the greatest plausible IC.
        directions: models fitted to directions, not returns: none of them is the baseline.

    Returns:
        `sector, as_of, horizon, model, kind, ic, rank_ic, baseline_rank_ic`, `beats_baseline` (rank IC above the
        baseline's; null for the baseline itself, and without one), `plausible` (both daily ICs at most
        `promotion.max_daily_ic`: a higher one suggests that a label leaks into a feature; null without an IC) and
        `promoted` (both true; for the baseline, `plausible`), for the trained rows, sorted.

    """
    place = ["sector", "as_of", "horizon"]
    trained = checkpoints.filter(pl.col("status") == "trained")
    baseline = (
        trained.filter((pl.col("kind") == BASELINE) & ~pl.col("model").is_in(list(directions)))
        .sort("model")
        .unique(place, keep="first", maintain_order=True)
        .select(*place, baseline="model", baseline_rank_ic="rank_ic")
    )
    is_plausible = plausible(settings.max_daily_ic)
    own = pl.col("model") == pl.col("baseline")
    beats = pl.when(~own).then(pl.col("rank_ic") > pl.col("baseline_rank_ic"))
    promoted = is_plausible & (own | beats)
    return (
        trained.join(baseline, on=place, how="left")
        .with_columns(beats_baseline=beats, plausible=is_plausible, promoted=promoted.fill_null(False))
        .select(*place, "model", "kind", "ic", "rank_ic", "baseline_rank_ic", "beats_baseline", "plausible", "promoted")
        .sort(*place, "model")
    )


def suspected(found: pl.DataFrame, settings: PromotionSettings) -> list[str]:
    """One line for each model with an implausible daily IC, highest first."""
    rows = found.filter(~pl.col("plausible")).with_columns(highest=pl.max_horizontal("ic", "rank_ic"))
    return [
        f"{row['sector']} {row['as_of']} {row['model']}, {row['horizon']} sessions: daily IC {row['highest']:.3f} over "
        f"promotion.max_daily_ic {settings.max_daily_ic}"
        for row in rows.sort("highest", *found.columns[:4], descending=[True, *[False] * 4]).iter_rows(named=True)
    ]


def beaten(found: pl.DataFrame) -> list[str]:
    """One line for each model that does not beat the baseline."""
    return [
        f"{row['sector']} {row['as_of']} {row['model']}, {row['horizon']} sessions: rank IC {row['rank_ic']:.3f}, the "
        f"baseline's {row['baseline_rank_ic']:.3f}"
        for row in found.filter(~pl.col("beats_baseline")).iter_rows(named=True)
    ]


def against(found: pl.DataFrame, settings: PromotionSettings) -> list[str]:
    """The reasons why models are not promoted, at least one line for each."""
    unjudged = [
        f"{row['sector']} {row['as_of']} {row['model']}, {row['horizon']} sessions: "
        + ("no IC over its test folds" if row["rank_ic"] is None else "no linear baseline to compare with")
        for row in found.filter(
            ~pl.col("promoted") & pl.col("plausible").fill_null(True) & pl.col("beats_baseline").fill_null(True)
        ).iter_rows(named=True)
    ]
    return [*suspected(found, settings), *beaten(found), *unjudged]
