"""Which trained models deserve to be used: they beat the baseline out of sample, and are not too good to be true."""

from collections.abc import Collection

import polars as pl

from quant_assets.settings.model_use import PromotionSettings

#: The kind that the others are held against.
BASELINE = "linear"


def plausible(max_daily_ic: float) -> pl.Expr:
    """Whether neither daily IC of a checkpoint's row is above the greatest plausible one; null without an IC."""
    return pl.max_horizontal("ic", "rank_ic") <= max_daily_ic


def gated(checkpoints: pl.DataFrame, settings: PromotionSettings, directions: Collection[str]) -> pl.DataFrame:
    """What speaks for and against each trained model.

    Both figures are of the test folds. The baseline is the first model of kind `linear` that is trained to returns at
    the same session, sector and horizon; where there is none, nothing is beaten.

    Args:
        checkpoints: rows of the dataset of checkpoints with `sector`, of any sectors and sessions.
        settings: the greatest plausible IC.
        directions: models that are fitted to directions and not to returns: none of them is the baseline.

    Returns:
        `sector, as_of, horizon, model, kind, ic, rank_ic, baseline_rank_ic`, `beats_baseline` (the rank IC is above the
        baseline's; null of the baseline itself, and where there is none), `plausible` (neither daily IC is above
        `promotion.max_daily_ic`: more than that suggests that a label leaks into a feature; null without an IC) and
        `promoted` (both hold; of the baseline, that it is plausible), for the trained rows, sorted.

    """
    place = ["sector", "as_of", "horizon"]
    trained = checkpoints.filter(pl.col("status") == "trained")
    baseline = (
        trained.filter((pl.col("kind") == BASELINE) & ~pl.col("model").is_in(list(directions)))
        .sort("model")
        .unique(place, keep="first", maintain_order=True)
        .select(*place, baseline="model", baseline_rank_ic="rank_ic")
    )
    believed = plausible(settings.max_daily_ic)
    own = pl.col("model") == pl.col("baseline")
    beats = pl.when(~own).then(pl.col("rank_ic") > pl.col("baseline_rank_ic"))
    promoted = believed & (own | beats)
    return (
        trained.join(baseline, on=place, how="left")
        .with_columns(beats_baseline=beats, plausible=believed, promoted=promoted.fill_null(False))
        .select(*place, "model", "kind", "ic", "rank_ic", "baseline_rank_ic", "beats_baseline", "plausible", "promoted")
        .sort(*place, "model")
    )


def suspected(found: pl.DataFrame, settings: PromotionSettings) -> list[str]:
    """The models whose daily IC is not plausible, a line for each, the highest first."""
    rows = found.filter(~pl.col("plausible")).with_columns(highest=pl.max_horizontal("ic", "rank_ic"))
    return [
        f"{row['sector']} {row['as_of']} {row['model']}, {row['horizon']} sessions: daily IC {row['highest']:.3f} over "
        f"promotion.max_daily_ic {settings.max_daily_ic}"
        for row in rows.sort("highest", *found.columns[:4], descending=[True, *[False] * 4]).iter_rows(named=True)
    ]


def beaten(found: pl.DataFrame) -> list[str]:
    """The models that the baseline beats, a line for each."""
    return [
        f"{row['sector']} {row['as_of']} {row['model']}, {row['horizon']} sessions: rank IC {row['rank_ic']:.3f}, the "
        f"baseline's {row['baseline_rank_ic']:.3f}"
        for row in found.filter(~pl.col("beats_baseline")).iter_rows(named=True)
    ]


def against(found: pl.DataFrame, settings: PromotionSettings) -> list[str]:
    """What speaks against the models that are not promoted, at least a line for each."""
    unjudged = [
        f"{row['sector']} {row['as_of']} {row['model']}, {row['horizon']} sessions: "
        + ("no IC over its test folds" if row["rank_ic"] is None else "no linear baseline to hold it against")
        for row in found.filter(
            ~pl.col("promoted") & pl.col("plausible").fill_null(True) & pl.col("beats_baseline").fill_null(True)
        ).iter_rows(named=True)
    ]
    return [*suspected(found, settings), *beaten(found), *unjudged]
