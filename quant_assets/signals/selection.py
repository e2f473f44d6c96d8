"""What a selection of candidates amounts to.

Coverage of the members, turnover between months, and two selections side by side.
"""

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

import polars as pl

from quant_assets.settings.domain import CandidateSettings
from quant_assets.signals.candidates import exclusions, scores, select

SIDES = ("long", "short")
_NAME = ["as_of", "ticker"]


class Selection(NamedTuple):
    """A sector's selection over decision sessions, and what it was chosen from.

    Attributes:
        scored: every eligible name, as `candidates.scores` returns them.
        candidates: dataset candidates without `sector`.
        coverage: as `coverage` returns it.
        excluded: as `candidates.exclusions` returns it.

    """

    scored: pl.DataFrame
    candidates: pl.DataFrame
    coverage: pl.DataFrame
    excluded: pl.DataFrame

    @property
    def names(self) -> pl.DataFrame:
        """Every eligible name with its scores, candidate_type and selection_rank.

        The last two are null where it was not chosen.
        """
        return self.scored.join(
            self.candidates.select(*_NAME, "candidate_type", "selection_rank"), on=_NAME, how="left"
        )


def selection(
    indicators: pl.DataFrame, universe: pl.DataFrame, as_ofs: Sequence[date], settings: CandidateSettings
) -> Selection:
    """Score and select the names of a sector, arguments as of `candidates.candidates`."""
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
    """How many members a selection could choose from.

    Returns:
        A row for each decision session, in order: as_of, and the numbers of `members`, of those `with_bar`,
        `with_garch_volatility` and `eligible`.

    """
    decided = pl.col("date").is_in(list(as_ofs))
    found = pl.DataFrame({"as_of": list(as_ofs)}, schema={"as_of": pl.Date})
    met = [pl.len().alias("with_bar"), pl.col("garch_volatility").count().alias("with_garch_volatility")]
    for counted in (
        universe.filter(decided).group_by(as_of="date").agg(members=pl.len()),
        indicators.filter(decided).group_by(as_of="date").agg(met),
        scored.group_by("as_of").agg(eligible=pl.len()),
    ):
        found = found.join(counted, on="as_of", how="left")
    return found.fill_null(0).sort("as_of")


def by_reason(excluded: pl.DataFrame) -> dict[str, list[str]]:
    """The tickers of rows of `exclusions`, by their reason in the order of the alphabet."""
    found = excluded.sort("reason", "ticker").group_by("reason", maintain_order=True).agg("ticker")
    return dict(found.iter_rows())


def turnover(candidates: pl.DataFrame, as_ofs: Sequence[date]) -> pl.DataFrame:
    """Share of a side's names that were not on that side at the decision before.

    Args:
        candidates: rows with as_of, ticker and candidate_type.
        as_ofs: decision sessions in order. The first has none before it.

    Returns:
        A row for each decision session but the first: as_of, `long_turnover` and `short_turnover` in [0, 1], null where
        the side is empty now or was before.

    """
    found = pl.DataFrame(
        {"as_of": list(as_ofs[1:]), "before": list(as_ofs[:-1])}, schema={"as_of": pl.Date, "before": pl.Date}
    )
    for side in SIDES:
        names = candidates.filter(pl.col("candidate_type") == side).select(*_NAME)
        held = names.with_columns(stays=True).rename({"as_of": "before"})
        now = names.join(found, on="as_of").filter(pl.col("before").is_in(names["as_of"].unique().implode()))
        new = now.join(held, on=["before", "ticker"], how="left").group_by("as_of")
        found = found.join(new.agg(pl.col("stays").is_null().mean().alias(f"{side}_turnover")), on="as_of", how="left")
    return found.drop("before").sort("as_of")


def compare(before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """Two selections of the same decision sessions, name by name.

    Args:
        before: rows of dataset candidates, or `Selection.names`: then the scores of names that are not chosen are there
            too.
        after: the same under other settings.

    Returns:
        A row for each session and name that either chose: as_of, ticker, `change` ("enters", "leaves", "moves" to the
        other side, "stays"), then candidate_type and selection_rank (null where not chosen) and composite_score (null
        where not known) of both, with the suffixes `_before` and `_after`; sorted by as_of, side and rank after, those
        that leave last.

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
    found = (
        sides[0]
        .join(sides[1], on=_NAME, how="full", coalesce=True)
        .filter(side_before.is_not_null() | side_after.is_not_null())
    )
    return found.select(*_NAME, change.alias("change"), pl.exclude(_NAME)).sort(order, nulls_last=True)
