"""Statistics of a selection of candidates: coverage, turnover, and the comparison of two selections."""

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

import polars as pl

from quant_assets.settings.domain import CandidateSettings
from quant_assets.signals.candidates import exclusions, scores, select

SIDES = ("long", "short")
_NAME = ["as_of", "ticker"]


class Selection(NamedTuple):
    """A sector's selection over decision sessions, and the names from which it was chosen.

    Attributes:
        scored: all eligible names, result of `candidates.scores`.
        candidates: dataset candidates without `sector`.
        coverage: result of `coverage`.
        excluded: result of `candidates.exclusions`.

    """

    scored: pl.DataFrame
    candidates: pl.DataFrame
    coverage: pl.DataFrame
    excluded: pl.DataFrame

    @property
    def names(self) -> pl.DataFrame:
        """All eligible names with scores, candidate_type and selection_rank (both null if not chosen)."""
        return self.scored.join(
            self.candidates.select(*_NAME, "candidate_type", "selection_rank"), on=_NAME, how="left"
        )


def selection(
    indicators: pl.DataFrame, universe: pl.DataFrame, as_ofs: Sequence[date], settings: CandidateSettings
) -> Selection:
    """Score and select the names of a sector; arguments as for `candidates.candidates`."""
    scored = scores(indicators, universe, as_ofs, settings)
    return Selection(
        scored,
        select(scored, settings),
        coverage(indicators, universe, scored, as_ofs),
        exclusions(indicators, universe, as_ofs, settings),
    )


def coverage(
    indicators: pl.DataFrame, universe: pl.DataFrame, scored: pl.DataFrame, as_ofs: Sequence[date]
) -> pl.DataFrame:
    """Number of members from which a selection could choose.

    Returns:
        One row per decision session, in order: as_of, and the numbers of `members`, of members `with_bar`, of those
        `with_garch_volatility` and of `eligible` ones.

    """
    decided = pl.col("date").is_in(list(as_ofs))
    result = pl.DataFrame({"as_of": list(as_ofs)}, schema={"as_of": pl.Date})
    counts = [pl.len().alias("with_bar"), pl.col("garch_volatility").count().alias("with_garch_volatility")]
    for counted in (
        universe.filter(decided).group_by(as_of="date").agg(members=pl.len()),
        indicators.filter(decided).group_by(as_of="date").agg(counts),
        scored.group_by("as_of").agg(eligible=pl.len()),
    ):
        result = result.join(counted, on="as_of", how="left")
    return result.fill_null(0).sort("as_of")


def by_reason(excluded: pl.DataFrame) -> dict[str, list[str]]:
    """The tickers of rows of `exclusions`, by reason in alphabetical order."""
    tickers = excluded.sort("reason", "ticker").group_by("reason", maintain_order=True).agg("ticker")
    return dict(tickers.iter_rows())


def turnover(candidates: pl.DataFrame, as_ofs: Sequence[date]) -> pl.DataFrame:
    """Share of a side's names that were not on that side at the decision before.

    Args:
        candidates: rows with as_of, ticker and candidate_type.
        as_ofs: decision sessions in order.

    Returns:
        One row per decision session except the first: as_of, `long_turnover` and `short_turnover` in [0, 1], null if
        the side is empty now or was empty before.

    """
    result = pl.DataFrame(
        {"as_of": list(as_ofs[1:]), "before": list(as_ofs[:-1])}, schema={"as_of": pl.Date, "before": pl.Date}
    )
    for side in SIDES:
        names = candidates.filter(pl.col("candidate_type") == side).select(*_NAME)
        held = names.with_columns(stays=True).rename({"as_of": "before"})
        now = names.join(result, on="as_of").filter(pl.col("before").is_in(names["as_of"].unique().implode()))
        new = now.join(held, on=["before", "ticker"], how="left").group_by("as_of")
        result = result.join(
            new.agg(pl.col("stays").is_null().mean().alias(f"{side}_turnover")), on="as_of", how="left"
        )
    return result.drop("before").sort("as_of")


def compare(before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """Two selections of the same decision sessions, name by name.

    Args:
        before: rows of dataset candidates, or `Selection.names`, which also has the scores of names that are not
            chosen.
        after: the same under other settings.

    Returns:
        One row per session and name that either chose: as_of, ticker, `change` ("enters", "leaves", "moves" to the
        other side, "stays"), then candidate_type and selection_rank (null if not chosen) and composite_score (null if
        unknown) of both, with the suffixes `_before` and `_after`; sorted by as_of, side and rank after, names that
        leave last.

    """
    values = ["candidate_type", "selection_rank", "composite_score"]
    sides = [
        frame.select(*_NAME, *(pl.col(name).alias(f"{name}_{suffix}") for name in values))
        for frame, suffix in ((before, "before"), (after, "after"))
    ]
    side_before, side_after = pl.col("candidate_type_before"), pl.col("candidate_type_after")
    change = (
        pl.when(side_before.is_null())
        .then(pl.lit("enters"))
        .when(side_after.is_null())
        .then(pl.lit("leaves"))
        .when(side_before != side_after)
        .then(pl.lit("moves"))
        .otherwise(pl.lit("stays"))
    )
    order = ["as_of", "candidate_type_after", "selection_rank_after", "candidate_type_before", "selection_rank_before"]
    rows = (
        sides[0]
        .join(sides[1], on=_NAME, how="full", coalesce=True)
        .filter(side_before.is_not_null() | side_after.is_not_null())
    )
    return rows.select(*_NAME, change.alias("change"), pl.exclude(_NAME)).sort(order, nulls_last=True)
